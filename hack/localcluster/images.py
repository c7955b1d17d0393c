"""Writes small docker archives without a builder, and imports archives into containerd."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hack.localcluster.errors import ClusterError
from hack.localcluster.node_config import PAUSE_IMAGE
from hack.localcluster.progress import say
from hack.localcluster.settings import go_arch

_NAMESPACE = "k8s.io"  # where the kubelet's containerd looks for images


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyImage:
    """An image of one layer: folders, links, texts and copies of this machine's files, by path inside the image."""

    tag: str
    folders: Mapping[str, int] = field(default_factory=dict)  # path -> mode
    links: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    entrypoint: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    user: str = "65532:65532"


def write_docker_archive(image: TinyImage, to: Path) -> None:
    """Write `image` as a docker archive (what `docker save` makes). The same content gives the same bytes."""
    layer = _layer(image)
    config = json.dumps(
        {
            "architecture": go_arch(),
            "os": "linux",
            "config": {
                "User": image.user,
                "Env": [f"{k}={v}" for k, v in image.env.items()],
                "Entrypoint": list(image.entrypoint),
            },
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        },
        sort_keys=True,
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [image.tag], "Layers": ["layer.tar"]}]).encode()
    partial = to.with_name(f".{to.name}.{os.getpid()}")
    with tarfile.open(partial, "w") as tar:
        for name, content in ((config_name, config), ("layer.tar", layer), ("manifest.json", manifest)):
            _add(tar, name, content, 0o644)
    partial.replace(to)


def pause_image() -> TinyImage:
    """The image of the process that keeps a pod's namespaces: this machine's `sleep infinity` and its libraries."""
    program = Path(shutil.which("sleep") or "/bin/sleep").resolve()
    listed = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False).stdout
    libraries = [Path(path) for path in re.findall(r"(/\S+) \(0x", listed)]
    files = {"pause": program, **{str(library).lstrip("/"): library for library in libraries}}
    return TinyImage(tag=PAUSE_IMAGE, files=files, entrypoint=("/pause", "infinity"), user="65535:65535")


def ensure_pause_image(archive: Path, *, socket: Path) -> None:
    """Import the pause image, if the node does not have it."""
    if PAUSE_IMAGE not in _ctr(socket, "images", "list", "--quiet").splitlines():
        write_docker_archive(pause_image(), archive)
        import_into_containerd(archive, socket=socket)


def image_names(archive: Path) -> tuple[str, ...]:
    """Image names in a docker or OCI archive. Raises ClusterError where the file is neither, or names no image."""
    try:
        with tarfile.open(archive) as tar:
            members = set(tar.getnames())
            if "manifest.json" in members:
                names = [tag for entry in _json(tar, "manifest.json") for tag in entry.get("RepoTags") or ()]
            elif "index.json" in members:
                notes = [entry.get("annotations", {}) for entry in _json(tar, "index.json")["manifests"]]
                keys = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
                names = [note[key] for note in notes for key in keys if key in note][:1]
            else:
                names = []
    except (OSError, tarfile.TarError) as error:
        raise ClusterError(f"{archive} is not an image archive: {error}") from error
    if not names:
        raise ClusterError(f"{archive} holds no named image", "docker save NAME:TAG -o FILE, with the name, not the id")
    return tuple(names)


def import_into_containerd(archive: Path, *, socket: Path) -> tuple[str, ...]:
    """Import an archive into the node; returns the names of its images. Raises ClusterError."""
    names = image_names(archive)
    say(f"importing {', '.join(names)} ({archive.stat().st_size / 1e6:.0f} MB) into the node")
    _ctr(socket, "images", "import", str(archive))
    return names


def containerd_answers(socket: Path) -> bool:
    try:
        _ctr(socket, "version")
    except ClusterError:
        return False
    return True


def _ctr(socket: Path, *arguments: str) -> str:
    command = ["ctr", "--address", str(socket), "--namespace", _NAMESPACE, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"ctr {' '.join(arguments)}: {done.stderr.strip()[-500:]}")
    return done.stdout


def _json(tar: tarfile.TarFile, name: str) -> Any:
    member = tar.extractfile(name)
    return json.load(member) if member else []


def _layer(image: TinyImage) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        made: set[str] = set()
        for path, mode in image.folders.items():
            _add_parents(tar, path, made)
            _add_folder(tar, path.strip("/"), mode, made)
        for path, target in image.links.items():
            _add_parents(tar, path, made)
            info = tarfile.TarInfo(path.strip("/"))
            info.type, info.linkname, info.mode = tarfile.SYMTYPE, target, 0o777
            tar.addfile(info)
        for path, text in image.texts.items():
            _add_parents(tar, path, made)
            _add(tar, path.strip("/"), text.encode(), 0o644)
        for path, source in image.files.items():
            _add_parents(tar, path, made)
            _add(tar, path.strip("/"), source.read_bytes(), 0o755)
    return buffer.getvalue()


def _add_parents(tar: tarfile.TarFile, path: str, made: set[str]) -> None:
    parts = path.strip("/").split("/")[:-1]
    for depth in range(1, len(parts) + 1):
        _add_folder(tar, "/".join(parts[:depth]), 0o755, made)


def _add_folder(tar: tarfile.TarFile, path: str, mode: int, made: set[str]) -> None:
    if path not in made:
        made.add(path)
        info = tarfile.TarInfo(path)
        info.type, info.mode = tarfile.DIRTYPE, mode
        tar.addfile(info)


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), mode
    tar.addfile(info, io.BytesIO(content))
