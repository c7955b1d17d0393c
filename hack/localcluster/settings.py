"""Defines the versions that are built and tested, and the folders on this machine."""

from __future__ import annotations

import os
import platform
import re
import tempfile
from pathlib import Path

from hack.localcluster.errors import ClusterError

KUBERNETES_VERSION = "v1.34.2"  # from 1.35 on the kubelet refuses cgroup v1, which many machines still have
HELM_VERSION = "v3.22.0"
KIND_VERSION = "v0.30.0"
DEFAULT_CLUSTER = "andante"
GOMODULES = Path(__file__).resolve().parent / "gomodules"
REPOSITORY = Path(__file__).resolve().parents[2]

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")


def cache() -> Path:
    """$ANDANTE_CACHE, by default ~/.cache/andante: programs and images that are built or downloaded once a version."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("ANDANTE_CACHE") or home / "andante")


def state_root() -> Path:
    """$ANDANTE_STATE, by default /var/tmp/andante: one folder for each cluster."""
    return Path(os.environ.get("ANDANTE_STATE") or "/var/tmp/andante")


def cluster_name(name: str | None = None) -> str:
    """`name`, or $ANDANTE_CLUSTER, or "andante". Raises ClusterError for a name that cannot be a folder and a host."""
    chosen = name or os.environ.get("ANDANTE_CLUSTER") or DEFAULT_CLUSTER
    if not _NAME.fullmatch(chosen):
        raise ClusterError(
            f"cluster name {chosen!r} is refused", "lower-case letters, digits and '-', at most 32, as in --name test-2"
        )
    return chosen


def go_arch() -> str:
    """This machine's architecture as Go names it. Raises ClusterError for one without Kubernetes servers."""
    machine = platform.machine().lower()
    known = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
    if machine not in known:
        raise ClusterError(f"no Kubernetes build for the architecture {machine}")
    return known[machine]


def temporary_state(prefix: str) -> Path:
    """A new state folder for a control plane that lives as long as one test."""
    return Path(tempfile.mkdtemp(prefix=prefix))
