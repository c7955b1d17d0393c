"""Makes the files of a release in a folder and sends nothing: `make release-dry-run`.

    andante-VERSION-py3-none-any.whl          the wheel: operator, engine package, command
    andante-operator-VERSION-ARCH.tar         the operator's image, as `docker load` and `crane push` take it
    andante-CHART.tgz                         the Helm chart
    andante-operator-VERSION.cdx.json         the image's Python packages (CycloneDX), from operator/requirements.lock
    RELEASE_NOTES.md                          this version's section of CHANGELOG.md
    manifest.json, SHA256SUMS                 every file with its digest, and the image's digest in a registry

The same commit gives the same wheel, chart and image digest again, on the same base image and with the same builder.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hack import go_programs
from hack.localcluster import buildimage
from hack.localcluster.errors import ClusterError
from hack.localcluster.progress import say
from hack.localcluster.settings import REPOSITORY, go_arch
from hack.release import chart, source
from hack.release.publish import OPERATOR, operator_build
from hack.release.registry import parse
from hack.release.source import Source

_MADE = re.compile(r"andante-.*\.(whl|tar|tgz|json)|RELEASE_NOTES\.md|manifest\.json|SHA256SUMS")
_VARIES = (
    "the base image: Debian's packages on the day it is made, or the tag in the Dockerfile; one base, one digest",
    "an image built by docker: its layers keep the times of their files (podman and buildah set them)",
    "the archive of the image: a tar whose bytes depend on the builder; the image's digest does not",
)


def make(
    folder: Path,
    *,
    registry: str | None = None,
    builder: str = "",
    base: str = "",
    repository: Path = REPOSITORY,
) -> str:
    """Make the files in `folder`, whose old files are removed, and return the manifest.

    With `registry`, the chart names the image there. Raises ClusterError, where possible before anything is built.
    """
    made_of = source.read(repository)
    target = parse(registry) if registry else None
    if not made_of.clean:
        raise ClusterError("the source is no clean commit: a release is made of one", "git status; commit or stash")
    notes = release_notes((repository / "CHANGELOG.md").read_text(), made_of.version)
    program = buildimage.choose_builder(builder)
    crane = go_programs.ensure("crane")
    empty(folder)
    (folder / "RELEASE_NOTES.md").write_text(notes)
    say("wheel")
    _wheel(folder, made_of, repository)
    say("image")
    archive = folder / f"{OPERATOR}-{made_of.version}-{go_arch()}.tar"
    shutil.copyfile(buildimage.build(operator_build(made_of, builder=program, base=base)), archive)
    digest = _run([str(crane), "digest", "--tarball", str(archive)]).strip()
    say("chart")
    image = f"{target}/{OPERATOR}@{digest}" if target else None
    chart.package(folder, image=image, created=made_of.created, repository=repository)
    say("SBOM")
    sbom(folder / f"{OPERATOR}-{made_of.version}.cdx.json", repository, made_of.created)
    manifest = _manifest(folder, made_of, image_digest=digest, builder=program, image=image)
    (folder / "manifest.json").write_text(manifest)
    sums = "".join(f"{_sha256(file)}  {file.name}\n" for file in sorted(folder.iterdir()))
    (folder / "SHA256SUMS").write_text(sums)
    say(f"{len(list(folder.iterdir()))} files in {folder}")
    return manifest


def release_notes(changelog: str, version: str) -> str:
    """The section of `version` in a changelog (format: Keep a Changelog). Raises ClusterError where it is missing."""
    heading = re.compile(rf"^## \[?v?{re.escape(version)}\]?(?:\s.*)?$", re.MULTILINE)
    found = heading.search(changelog)
    if found is None:
        raise ClusterError(
            f"CHANGELOG.md has no section for version {version}",
            f'move what is under "## Unreleased" below "## {version}", or change the version in pyproject.toml',
        )
    rest = changelog[found.end() :]
    following = re.search(r"^## ", rest, re.MULTILINE)
    body = (rest[: following.start()] if following else rest).strip()
    if not body:
        raise ClusterError(f"CHANGELOG.md says nothing about version {version}", f"write it below ## {version}")
    return f"# Andante {version}\n\n{body}\n"


def empty(folder: Path) -> None:
    """Empty the folder, or create it. Raises ClusterError where it has files that no earlier run made."""
    folder.mkdir(parents=True, exist_ok=True)
    foreign = sorted(path.name for path in folder.iterdir() if not _MADE.fullmatch(path.name) or path.is_dir())
    if foreign:
        raise ClusterError(
            f"{folder} holds other things: {', '.join(foreign[:5])}", "an empty or a new folder: TO=FOLDER"
        )
    for old in folder.iterdir():
        old.unlink()


def _wheel(folder: Path, made_of: Source, repository: Path) -> None:
    lock = repository / "operator" / "build-requirements.lock"
    uv = [str(Path(sys.executable).with_name("uv")), "build", "--quiet", "--wheel", "--no-create-gitignore"]
    # Use the locked build backend, as the images do.
    locked = ["--require-hashes", "--build-constraints", str(lock)]
    _run([*uv, *locked, "--out-dir", str(folder), str(repository)], env={"SOURCE_DATE_EPOCH": str(made_of.created)})


def sbom(to: Path, repository: Path, created: int) -> None:
    """Write the list of the operator image's Python packages from its lock file: CycloneDX, checked by its schema."""
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", "--output-reproducible", "--validate"]
    options = ["--pyproject", str(repository / "pyproject.toml"), "--mc-type", "application", "--of", "JSON"]
    lock = repository / "operator" / "requirements.lock"
    _run([*command, *options, "--output-file", str(to), str(lock)], env={"SOURCE_DATE_EPOCH": str(created)})


def _manifest(folder: Path, made_of: Source, *, image_digest: str, builder: str, image: str | None) -> str:
    files = [{"name": f.name, "bytes": f.stat().st_size, "sha256": _sha256(f)} for f in sorted(folder.iterdir())]
    document: dict[str, Any] = {
        "version": made_of.version,
        "revision": made_of.revision,
        "created": made_of.created,
        "image": {"digest": image_digest, "builder": builder, **({"reference": image} if image else {})},
        "files": files,
        "varies": list(_VARIES),
    }
    return json.dumps(document, indent=2) + "\n"


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _run(command: Sequence[str], env: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **(env or {})})
    if done.returncode:
        raise ClusterError(f"`{' '.join(command[:4])} ...` failed: {(done.stdout + done.stderr).strip()[-1200:]}")
    return done.stdout
