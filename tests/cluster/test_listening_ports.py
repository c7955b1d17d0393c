"""No port of a cluster lets anybody in without credentials: on a shared machine every user reaches loopback."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any
from unittest import mock

from hack.free_ports import free_ports
from hack.localcluster import control_plane as control_plane_module
from hack.localcluster.api import Cluster, ControlPlane
from hack.localcluster.binaries import CONTROL_PLANE, ensure_binaries
from hack.localcluster.control_plane import ControlPlaneProcesses, ControlPlaneSpec, etcd_command
from hack.localcluster.processes import Service, marked_processes
from tests.cluster.listeners import let_in, listeners

HERE = str(Path("/proc/self/ns/net").readlink())


def test_every_port_of_a_control_plane_refuses_a_stranger(control_plane: ControlPlane) -> None:
    found = listeners(marked_processes(control_plane.state))
    assert {listener.program for listener in found} == {"etcd", "kube-apiserver"}
    assert [got for listener in found for got in let_in(listener.address, listener.port)] == []


def test_every_port_of_a_node_refuses_a_stranger_or_is_on_its_own_loopback(cluster: Cluster) -> None:
    node = Service(name="node", state=cluster.state).handle()
    assert node is not None
    inside = str(Path(f"/proc/{node.pid}/ns/net").readlink())
    path = "-o=jsonpath={.items[0].status.addresses[?(@.type=='InternalIP')].address}"
    address = cluster.kubectl("get", "nodes", path).stdout
    found = [one for one in listeners(marked_processes(cluster.state)) if one.namespace in {HERE, inside}]
    assert {one.program for one in found} >= {"etcd", "kube-apiserver", "kubelet", "kube-proxy", "containerd"}
    reached = [one for one in found if one.namespace == HERE or not one.is_loopback]
    assert inside != HERE
    assert {one.program for one in reached} == {"etcd", "kube-apiserver", "kubelet"}
    places = [(one.address if one.namespace == HERE else address, one.port) for one in reached]
    assert [got for place in places for got in let_in(*place)] == []


def test_certificate_of_the_clusters_own_authority_does_not_open_etcd(control_plane: ControlPlane) -> None:
    pki = control_plane.state / "pki"
    ports = [one for one in listeners(marked_processes(control_plane.state)) if one.program == "etcd"]
    assert len(ports) == 2
    for one in ports:
        assert let_in(one.address, one.port, (pki / "apiserver.crt", pki / "apiserver.key")) == []
        assert let_in(one.address, one.port, (pki / "etcd" / "apiserver.crt", pki / "etcd" / "apiserver.key")) != []


def test_etcd_that_an_older_version_started_is_replaced_and_keeps_its_data(tmp_path: Path) -> None:
    ports = free_ports(3)
    spec = ControlPlaneSpec.without_node(name="older", state=tmp_path, ports=ports, die_with_parent=True)
    binaries = ensure_binaries(CONTROL_PLANE)
    processes = ControlPlaneProcesses(spec, binaries)
    kubectl = [str(binaries.path("kubectl")), f"--kubeconfig={spec.kubeconfig}", f"--cache-dir={tmp_path / 'cache'}"]

    def without_peer_certificates(*arguments: Any) -> list[str]:
        words = etcd_command(*arguments)
        plain = [word.replace(f"https://127.0.0.1:{ports[2]}", f"http://127.0.0.1:{ports[2]}") for word in words]
        return [word for word in plain if not word.startswith("--peer")]

    try:
        with mock.patch.object(control_plane_module, "etcd_command", without_peer_certificates):
            processes.start()
        assert let_in("127.0.0.1", ports[2]) != []
        subprocess.run([*kubectl, "create", "configmap", "kept"], check=True, capture_output=True)
        processes.start()
        assert let_in("127.0.0.1", ports[2]) == []
        subprocess.run([*kubectl, "get", "configmap", "kept"], check=True, capture_output=True)
    finally:
        processes.stop()
