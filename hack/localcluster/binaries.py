"""Finds each program of the cluster: on the machine, in the cache, by the official download, or by a build.

The cache has one entry for each version, and a lock: two runs at the same time build a program once. A file gets its
name in the cache by a rename, so a file in the cache is always complete.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hack.localcluster import debian, downloads, gobuild
from hack.localcluster.errors import ClusterError
from hack.localcluster.locking import exclusive
from hack.localcluster.settings import HELM_VERSION, KUBERNETES_VERSION, cache

CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "openssl", "setpriv")
NODE = (
    "kubelet",
    "kube-proxy",
    "containerd",
    "ctr",
    "runc",
    "bridge",
    "iptables",
    "conntrack",
    "ip",
    "mount",
    "nsenter",
)
HELM = ("helm",)

# In build order: the first build compiles the code that all of them share.
KUBERNETES = ("kube-apiserver", "kubectl", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")

_CNI_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))


@dataclass(frozen=True, slots=True)
class Binaries:
    """Programs by name: absolute paths that existed when they were looked up."""

    paths: Mapping[str, Path]

    def path(self, name: str) -> Path:
        """Raises ClusterError when `name` was not among what was asked for."""
        try:
            return self.paths[name]
        except KeyError:
            raise ClusterError(f"{name} was not prepared for this cluster") from None


def kubernetes_folder() -> Path:
    return cache() / "kubernetes" / KUBERNETES_VERSION / "bin"


def helm_folder() -> Path:
    return cache() / "helm" / HELM_VERSION / "bin"


def find(name: str) -> Path | None:
    """Path of `name` on this machine, or None. Downloads nothing."""
    if name in KUBERNETES:
        cached = kubernetes_folder() / name
        return _from_kubebuilder_assets(name) or (cached if cached.is_file() else None)
    if name == "helm":
        cached = helm_folder() / "helm"
        return cached if cached.is_file() else None
    if name == "bridge":  # a CNI plugin, never on PATH
        return next((folder / name for folder in _CNI_FOLDERS if (folder / name).is_file()), None)
    if name == "etcd" and (assets := os.environ.get("KUBEBUILDER_ASSETS")) and (Path(assets) / name).is_file():
        return Path(assets) / name
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/local/sbin")
    return Path(found) if found else None


def missing(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in names if find(name) is None)


def ensure_binaries(names: Sequence[str]) -> Binaries:
    """Find `names`; download or build missing ones. Raises ClusterError that names the missing ones and the remedy."""
    absent = missing(names)
    if any(name not in KUBERNETES and name != "helm" for name in absent):
        debian.install_programs([name for name in absent if name not in KUBERNETES and name != "helm"])
    wanted = [name for name in KUBERNETES if name in absent]
    if wanted:
        with exclusive(kubernetes_folder().parent, "the Kubernetes binaries"):
            _fetch_kubernetes([name for name in wanted if find(name) is None])
    if "helm" in absent:
        with exclusive(helm_folder().parent, "helm"):
            if find("helm") is None:
                _fetch_helm()
    paths = {name: path for name in names if (path := find(name)) is not None}
    lost = [name for name in names if name not in paths]
    if lost:
        raise ClusterError(f"could not get {', '.join(lost)}", "python3 -m hack.localcluster doctor")
    return Binaries(paths)


def _fetch_kubernetes(names: Sequence[str]) -> None:
    folder = kubernetes_folder()
    folder.mkdir(parents=True, exist_ok=True)
    # The first failed download ends the attempts: another wait for the same site would not help.
    left = list(names)
    while left and downloads.kubernetes(left[0], version=KUBERNETES_VERSION, to=folder / left[0]):
        left.pop(0)
    if left:
        gobuild.kubernetes(left, version=KUBERNETES_VERSION, to=folder)


def _fetch_helm() -> None:
    folder = helm_folder()
    folder.mkdir(parents=True, exist_ok=True)
    if not downloads.helm(version=HELM_VERSION, to=folder / "helm"):
        gobuild.helm(to=folder)


def _from_kubebuilder_assets(name: str) -> Path | None:
    """The program in $KUBEBUILDER_ASSETS, if it has our minor version.

    That folder has no controller manager, and ours must not be newer than the API server.
    """
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if not assets or not (Path(assets) / name).is_file():
        return None
    flags = ("version", "--client") if name == "kubectl" else ("--version",)
    said = subprocess.run([str(Path(assets) / name), *flags], capture_output=True, text=True, check=False).stdout
    minor = KUBERNETES_VERSION.rpartition(".")[0]
    return Path(assets) / name if re.search(rf"{re.escape(minor)}\.\d", said) else None
