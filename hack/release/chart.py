"""Packs the Helm chart into one file that names the operator's image, so that it can be installed without values.

The file is packed again after `helm package`, with sorted members and one time for all of them, so that the same source
gives the same bytes.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import subprocess
import tarfile
import tempfile
from pathlib import Path

import yaml

from hack.localcluster.binaries import HELM, ensure_binaries
from hack.localcluster.errors import ClusterError
from hack.localcluster.settings import REPOSITORY

# The chart is the root of the repository: other files there must not be released.
_PARTS = re.compile(
    r"andante/((charts/[^/]+/)?(Chart\.yaml|values\.yaml|values\.schema\.json|(templates|crds)/.*)|README\.md|LICENSE)"
)
_VALUES = "andante/charts/andante-operator/values.yaml"


def package(folder: Path, *, image: str | None, created: int, repository: Path = REPOSITORY) -> Path:
    """Pack the chart of `repository` into `folder`.

    `image` ("HOST/PATH/NAME@sha256:...") is written into its values; without it, the values stay as in the repository.
    `created`: the time of every file. Raises ClusterError.
    """
    helm = ensure_binaries(HELM).path("helm")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        command = [str(helm), "package", str(repository), "--destination", scratch]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ClusterError(f"helm package: {(done.stdout + done.stderr).strip()[-800:]}")
        (packed,) = Path(scratch).glob("*.tgz")
        members = _members(packed)
        name = packed.name
    if image is not None:
        members[_VALUES] = naming(members[_VALUES].decode(), image).encode()
    to = folder / name
    partial = folder / f".{name}.{os.getpid()}"
    partial.write_bytes(_packed(members, created))
    # In a registry, helm takes the chart's date from the time of its file.
    os.utime(partial, (created, created))
    partial.replace(to)
    return to


def naming(values: str, image: str) -> str:
    """The operator's values.yaml with the image; its comments stay. Raises ClusterError for an unexpected file."""
    repository, _, digest = image.partition("@")
    block = re.search(r"^image:\n(?:[ \t]+.*\n|\n|#.*\n)*", values, re.MULTILINE)
    if block is None:
        raise ClusterError("charts/andante-operator/values.yaml has no block `image:`")
    text = block.group()
    for key, value in (("repository", repository), ("tag", ""), ("digest", digest)):
        text, count = re.subn(
            rf'^(  {key}:)[ \t]*("[^"]*"|[^\s#]*)', rf'\1 "{value}"', text, count=1, flags=re.MULTILINE
        )
        if not count:
            raise ClusterError(f"charts/andante-operator/values.yaml has no image.{key}")
    changed = values[: block.start()] + text + values[block.end() :]
    wanted = yaml.safe_load(values)
    wanted["image"] |= {"repository": repository, "tag": "", "digest": digest}
    if yaml.safe_load(changed) != wanted:
        raise ClusterError("charts/andante-operator/values.yaml: the image's name cannot be written into it")
    return changed


def _members(packed: Path) -> dict[str, bytes]:
    found = {}
    with tarfile.open(packed) as tar:
        for member in tar:
            file = tar.extractfile(member)
            if file is not None and _PARTS.fullmatch(member.name):
                found[member.name] = file.read()
    return found


def _packed(members: dict[str, bytes], created: int) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        # Chart.yaml comes first: otherwise helm says that it is missing.
        for name in sorted(members, key=lambda name: (name != "andante/Chart.yaml", name)):
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.mtime = len(members[name]), 0o644, created
            tar.addfile(info, io.BytesIO(members[name]))
    return gzip.compress(plain.getvalue(), compresslevel=9, mtime=0)
