"""Computes the disk space that a run still needs, by what the caches lack, and reads the machine's memory.

The preflight and the doctor use these figures. They were measured in a fresh Debian (docs/timings.md) and rounded up.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hack.localcluster.binaries import HELM, KUBERNETES, missing
from hack.localcluster.settings import cache, state_root

GIB = 2**30
MEMORY_GIB = 4.0
_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


@dataclass(frozen=True, slots=True)
class Need:
    """`what` needs `gib` on the file system of `folder`, which need not exist yet."""

    folder: Path
    gib: float
    what: str


@dataclass(frozen=True, slots=True)
class Shortage:
    """A file system with less free space than the sum of the needs on it."""

    folder: Path
    needed_gib: float
    free_gib: float
    what: tuple[str, ...]

    def __str__(self) -> str:
        parts = ", ".join(self.what)
        return (
            f"{self.needed_gib:.0f} GiB are needed on the disk of {self.folder} ({parts}), {self.free_gib:.1f} are free"
        )


def of_native_node() -> list[Need]:
    """The disk space that `make demo` needs with a native node."""
    needs = [Need(state_root(), 1.5, "the running node 1.5")]
    home_cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    if missing(KUBERNETES):
        needs.append(Need(home_cache, 5.0, "Go's build of Kubernetes 5"))
        needs.append(Need(cache(), 0.6, "Kubernetes 0.6"))
    elif missing(HELM):
        needs.append(Need(home_cache, 1.5, "Go's build of helm 1.5"))
    if not any(cache().glob("engine-env/vllm-*/.andante-recipe")):
        needs.append(Need(cache(), 7.0, "vLLM 7"))
        uv = Path(os.environ.get("UV_CACHE_DIR") or home_cache / "uv")
        if _device(uv) != _device(cache()):  # on one file system they are hard links to the same blocks
            needs.append(Need(uv, 7.0, "uv's cache 7"))
    if not any(cache().glob("images/*andante-operator*")):
        needs.append(Need(cache(), 2.0, "the operator's image 2"))
    return needs


def of_real_images(*, engine_image: str | None) -> list[Need]:
    """The disk space with kind and with the user's own cluster: images in place of host mounts."""
    if engine_image:
        return [Need(cache(), 3.0, "the operator's image 3")]
    return [Need(cache(), 30.0, "an image with vLLM for CPUs 30; --engine-image IMAGE names one that is there already")]


def shortages(needs: Sequence[Need]) -> list[Shortage]:
    """The file systems that are too small, each with all its needs."""
    found = []
    for device in dict.fromkeys(_device(need.folder) for need in needs):
        here = [need for need in needs if _device(need.folder) == device]
        wanted, free = sum(need.gib for need in here), _free_gib(here[0].folder)
        if free < wanted:
            largest = max(here, key=lambda need: need.gib)
            found.append(Shortage(largest.folder, wanted, free, tuple(need.what for need in here)))
    return found


def memory_gib() -> float:
    """Memory of this machine, or of the container that this process runs in."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for file in _CGROUP_LIMITS:
        text = file.read_text().strip() if file.is_file() else "max"
        total = min(total, int(text)) if text.isdigit() else total
    return total / GIB


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


def _device(folder: Path) -> int:
    return _existing(folder).stat().st_dev


def _free_gib(folder: Path) -> float:
    return shutil.disk_usage(_existing(folder)).free / GIB
