"""Manages the cgroup that contains all pods of one cluster, in version 1 (one tree per controller) and version 2."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_V1_TREES = (
    *("cpu", "cpuacct", "cpuset", "memory", "pids", "blkio", "devices", "freezer", "hugetlb", "systemd"),
    *("net_cls", "net_prio", "perf_event", "cpu,cpuacct", "net_cls,net_prio", "rdma", "misc"),
)


def cgroup_name(name: str) -> str:
    """The kubelet's cgroupRoot for cluster `name`."""
    return f"/andante-{name}"


def is_version_2() -> bool:
    return (_ROOT / "cgroup.controllers").is_file()


def not_delegated(controllers: Sequence[str]) -> list[str]:
    """The `controllers` that a new cgroup would not get.

    Version 2 inside a container: the container's top cgroup contains processes, and then the kernel does not let it
    pass on more controllers than before.
    """
    if not is_version_2() or not (_ROOT / "cgroup.type").exists():
        return []
    handed_down = (_ROOT / "cgroup.subtree_control").read_text().split()
    return [name for name in controllers if name not in handed_down]


def create(name: str) -> None:
    """Create the cluster's cgroup in every tree; in version 2, pass it the controllers that the kubelet needs."""
    if is_version_2():
        available = (_ROOT / "cgroup.controllers").read_text().split()
        for controller in available:  # one by one: one controller that cannot be passed on must not stop the others
            with contextlib.suppress(OSError):
                (_ROOT / "cgroup.subtree_control").write_text(f"+{controller}")
    for tree in _trees():
        (tree / cgroup_name(name).strip("/")).mkdir(exist_ok=True)


def processes(name: str) -> set[int]:
    """Pids of all processes in the cluster's cgroup and below it."""
    pids: set[int] = set()
    for folder in _folders(name):
        with contextlib.suppress(OSError):
            pids.update(int(line) for line in (folder / "cgroup.procs").read_text().split())
    return pids


def remove(name: str) -> list[Path]:
    """Remove the cluster's cgroups, children first; returns those that could not be removed (still in use)."""
    left = []
    for folder in _folders(name):
        try:
            folder.rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            left.append(folder)
    return left


def _trees() -> list[Path]:
    if is_version_2():
        return [_ROOT]
    found = {(_ROOT / tree).resolve() for tree in _V1_TREES if (_ROOT / tree / "cgroup.procs").is_file()}
    if (_ROOT / "unified" / "cgroup.procs").is_file():
        found.add(_ROOT / "unified")
    return sorted(found)


def _folders(name: str) -> list[Path]:
    """The cluster's cgroup folders, deepest first."""
    tops = [tree / cgroup_name(name).strip("/") for tree in _trees()]
    return [Path(folder) for top in tops for folder, _, _ in os.walk(top, topdown=False)]
