"""Gives tests a real Kubernetes. Both context managers clean up after themselves, even when the test run is killed.

A control plane only (etcd, kube-apiserver, controller-manager; ~4 s; no root needed)::

    from hack.localcluster.api import ControlPlane

    @pytest.fixture(scope="session")
    def control_plane():
        with ControlPlane() as plane:          # ControlPlane(scheduler=True) also binds pods to nodes
            yield plane

    plane.kubeconfig                           # Path: KUBECONFIG for kubectl, helm, kopf, the kubernetes client
    plane.server, plane.ca, plane.token        # URL, Path of the CA, cluster-admin's token
    plane.kubectl("get", "ns", "-o", "json").stdout
    plane.kubectl("apply", "--server-side", "-f", "-", stdin=manifest_text)
    plane.kubeconfig_for_service_account("andante-system", "andante-operator")   # Path; run something under its RBAC
    plane.stop_apiserver(); plane.start_apiserver()      # same port and data; watches break as in an upgrade
    plane.pause_apiserver(); plane.resume_apiserver()    # connections hang instead of being refused
    with plane.apiserver_down(): ...                     # refused inside the block, serving again after it

There is no kubelet: pods stay Pending; Deployments, ReplicaSets, garbage collection, quotas, service accounts,
EndpointSlices and PodDisruptionBudgets are worked on by the real controllers. Nodes and pod status are faked by
patching (`plane.add_node("gpu-1", {"nvidia.com/gpu": "8"})`).

A whole node (root; ~20 s)::

    from hack.localcluster.api import Cluster

    with Cluster(name="e2e") as cluster:       # the same members, and:
        cluster.load_image(Path("image.tar"))
        cluster.kubectl("run", ...)

Binaries come from the cache; where they are missing they are fetched or built first, with progress on stderr
(`make control-plane-binaries`, `make cluster-binaries` do that ahead of time).
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from hack.free_ports import free_ports
from hack.localcluster.binaries import CONTROL_PLANE, NODE, ensure_binaries
from hack.localcluster.control_plane import ControlPlaneProcesses, ControlPlaneSpec
from hack.localcluster.errors import ClusterError
from hack.localcluster.images import import_into_containerd
from hack.localcluster.kube_access import KubeAccess
from hack.localcluster.native import NativeCluster
from hack.localcluster.processes import marked_processes, start_ticks
from hack.localcluster.settings import cluster_name, state_root, temporary_state

__all__ = ["Cluster", "ClusterError", "ControlPlane"]


_PREFIX = "andante-control-plane-"
_OWNER = re.compile(rf"{_PREFIX}(\d+)-(\d+)-")  # pid and start time of the test run, so that a dead one is told


def _remove_abandoned() -> None:
    """State folders of test runs that were killed: their servers died with them, their folders did not."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(FileNotFoundError):  # another run clears it away
            if folder.stat().st_uid == os.getuid() and _is_abandoned(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_abandoned(folder: Path) -> bool:
    named = _OWNER.match(folder.name)
    if named is None:  # of a version that did not name the run: while it starts it cannot be told from an abandoned one
        return (folder / "run" / "etcd.pid").exists() and not marked_processes(folder)
    return start_ticks(int(named[1])) != int(named[2]) and not marked_processes(folder)


class ControlPlane(KubeAccess):
    """etcd, kube-apiserver and controller-manager on loopback with ports of their own; see the module's docstring.

    scheduler: also run kube-scheduler. extra_admission_plugins: e.g. ("OwnerReferencesPermissionEnforcement",), which
    some distributions turn on. extra_apiserver_flags: e.g. ("--audit-log-path=...",). The servers die with the thread
    that called start(), also by kill -9.
    """

    def __init__(
        self,
        *,
        scheduler: bool = False,
        extra_admission_plugins: tuple[str, ...] = (),
        extra_apiserver_flags: tuple[str, ...] = (),
    ) -> None:
        self._scheduler = scheduler
        self._plugins, self._flags = extra_admission_plugins, extra_apiserver_flags

    def start(self) -> Self:
        """Return once the API server is ready. Raises ClusterError."""
        _remove_abandoned()
        self._binaries = ensure_binaries(CONTROL_PLANE)
        spec = ControlPlaneSpec.without_node(
            name="andante-test",
            state=temporary_state(f"{_PREFIX}{os.getpid()}-{start_ticks(os.getpid())}-"),
            ports=free_ports(3),
            scheduler=self._scheduler,
            extra_admission_plugins=self._plugins,
            extra_apiserver_flags=self._flags,
            die_with_parent=True,
        )
        self._processes = ControlPlaneProcesses(spec, self._binaries)
        try:
            self._processes.start()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop everything and remove the state folder."""
        self._processes.stop()
        shutil.rmtree(self.state, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Cluster(KubeAccess):
    """The native node (root only), as `python3 -m hack.localcluster up --backend native` makes it."""

    def __init__(self, *, name: str) -> None:
        self.name = cluster_name(name)
        self._node = NativeCluster(name=self.name, state=state_root() / self.name)

    def start(self) -> Self:
        """Return once the node is Ready; does nothing where it already is. Raises ClusterError."""
        self._binaries = ensure_binaries((*CONTROL_PLANE, *NODE))
        self._processes = self._node.up(self._binaries)
        return self

    def stop(self) -> None:
        """Take everything down; nothing is left behind."""
        self._node.down()

    def load_image(self, archive: Path) -> tuple[str, ...]:
        """Import a docker or OCI archive into the node; returns the names of its images. Raises ClusterError."""
        return import_into_containerd(archive, socket=self._node.containerd_socket)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
