"""Runs the native cluster: a control plane on the host, one node in its own namespaces. No Docker, no VM; needs root.

`up` can be called again at any time and continues where it was. `down` removes everything, even after a crash in either
of the two, and without any state file: it also finds what has to go by other marks.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hack.free_ports import free_ports
from hack.localcluster import cgroups, images, made_folders, network, proxies, record
from hack.localcluster.binaries import Binaries
from hack.localcluster.control_plane import KUBE_PROXY, ControlPlaneProcesses, ControlPlaneSpec
from hack.localcluster.errors import ClusterError
from hack.localcluster.node_config import NodeSpec
from hack.localcluster.node_init import SHADOWED
from hack.localcluster.processes import Service, kill_marked, marked, marked_processes
from hack.localcluster.progress import say, wait_until
from hack.localcluster.settings import REPOSITORY
from hack.localcluster.statefiles import require_own, write_whole

_SOCKET_PATH_BYTES = 100
_RECORDED = {"block", "etcd_client_port", "etcd_peer_port"}


@dataclass(frozen=True, slots=True)
class NativeCluster:
    """One native cluster, with its name and state folder."""

    name: str
    state: Path

    @property
    def node_name(self) -> str:
        return f"{self.name}-node"

    @property
    def containerd_socket(self) -> Path:
        return self.state / "containerd.sock"

    @property
    def sandbox(self) -> Service:
        """The process that holds the node's namespaces; killing it ends the node."""
        return Service(name="node", state=self.state)

    @property
    def _forwarding(self) -> Path:
        return self.state / "ip_forward.json"

    @property
    def _made(self) -> Path:
        return self.state / "node" / "made.json"

    @property
    def _node_file(self) -> Path:
        """The file with the task of the node's process 1. Where the file is missing, there was no such process."""
        return self.state / "node" / "node.json"

    def up(self, binaries: Binaries) -> ControlPlaneProcesses:
        """Start everything that does not run yet; return when the node is Ready. Raises ClusterError."""
        if os.geteuid() != 0:
            raise ClusterError("the native node needs root (namespaces, mounts, cgroups)", "sudo make cluster-up")
        if len(str(self.containerd_socket).encode()) > _SOCKET_PATH_BYTES:
            raise ClusterError(
                f"the state folder's path is too long for a socket: {self.state}", "a shorter ANDANTE_STATE"
            )
        with _lock(self.state):
            require_own(self.state.parent)
            require_own(self.state)
            control_plane = self._spec()
            processes = ControlPlaneProcesses(control_plane, binaries)
            addresses = _addresses(record.read(self.state) or {})
            proxies.bypass(addresses.host, addresses.node, addresses.pods, addresses.services)
            self._start_sandbox(binaries, control_plane)
            processes.start()
            say(f"API server ready at {control_plane.server}")
            (self.state / "node" / "go").touch()
            self._wait_for_containerd()
            images.ensure_pause_image(self.state / "node" / "pause.tar", socket=self.containerd_socket)
            self._wait_for_node(binaries, control_plane)
        return processes

    def down(self) -> None:
        """Remove everything; do nothing where there is nothing. Raises ClusterError that names what is left."""
        with _lock(self.state):
            self.sandbox.stop(grace_seconds=0.0)
            for name in ("kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd"):
                Service(name=name, state=self.state).stop(grace_seconds=2.0)
            # A start that was killed before it wrote a pid file leaves a process without a record.
            kill_marked(self.state)
            self._kill_pods()
            connected = network.disconnect(self.name)
            with _one_at_a_time(self.state.parent):
                network.restore_forwarding(self._forwarding, changed=connected)
                made_folders.remove(self._made, SHADOWED, started=self._node_file.exists())
            wait_until(lambda: not cgroups.remove(self.name), what="the pods' cgroups to empty", timeout_seconds=20)
            self._unmount_leftovers()
            shutil.rmtree(self.state)
        with contextlib.suppress(OSError):
            self.state.parent.rmdir()

    def _spec(self) -> ControlPlaneSpec:
        document = record.read(self.state) or {}
        if not document.keys() >= _RECORDED:
            record.refuse_unknown_state(self.state)
            document = self._new_record()
        addresses = _addresses(document)
        return ControlPlaneSpec(
            name=self.name,
            state=self.state,
            address=addresses.host,
            api_port=network.API_PORT,
            etcd_client_port=document["etcd_client_port"],
            etcd_peer_port=document["etcd_peer_port"],
            service_cidr=addresses.services,
            service_api_address=addresses.service_api,
            pod_cidr=addresses.pods,
            node_name=self.node_name,
            scheduler=True,
        )

    def _new_record(self) -> dict[str, Any]:
        """Choose and record addresses and ports, one cluster at a time: no two clusters may choose the same."""
        client, peer = free_ports(2)
        with _one_at_a_time(self.state.parent):
            known = record.all_records(self.state.parent).values()
            others = [ipaddress.IPv4Network(other["block"]) for other in known if "block" in other]
            block = network.choose_block(self.name, [*network.routed_networks(), *others])
            document = {"backend": "native", "block": str(block), "etcd_client_port": client, "etcd_peer_port": peer}
            record.write(self.state, document)
        return document

    def _start_sandbox(self, binaries: Binaries, control_plane: ControlPlaneSpec) -> None:
        """Start the node's process 1, which waits for `go`, and set up its link."""
        folder = self.state / "node"
        addresses = _addresses(record.read(self.state) or {})
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self.sandbox.alive():
            (folder / "go").unlink(missing_ok=True)
            with _one_at_a_time(self.state.parent):
                made_folders.remember(self._made, SHADOWED, started=self._node_file.exists())
            control_plane.authority.ensure()
            certificate = control_plane.authority.issue(
                "kubelet", subject=f"/O=system:nodes/CN=system:node:{self.node_name}", addresses=(addresses.node,),
                dns=(self.node_name,),
            )  # fmt: skip
            spec = NodeSpec(
                name=self.node_name,
                state=self.state,
                address=addresses.node,
                pod_cidr=addresses.pods,
                cgroup_root=cgroups.cgroup_name(self.name),
                cni_plugins=binaries.path("bridge").parent,
                containerd=binaries.path("containerd"),
                kubelet=binaries.path("kubelet"),
                kube_proxy=binaries.path("kube-proxy"),
                kubelet_kubeconfig=control_plane.component_kubeconfig(f"system:node:{self.node_name}"),
                kube_proxy_kubeconfig=control_plane.component_kubeconfig(KUBE_PROXY),
                ca=control_plane.authority.ca.cert,
                kubelet_cert=certificate.cert,
                kubelet_key=certificate.key,
            )
            write_whole(self._node_file, spec.to_json())
            cgroups.create(self.name)
            namespaces = ("--mount", "--propagation", "private", "--pid", "--net", "--uts", "--ipc")
            self.sandbox.start(
                ["unshare", *namespaces, "--fork", "--kill-child=SIGKILL", "--mount-proc", sys.executable, "-m",
                 "hack.localcluster.node_init", self._node_file],
                env=_node_environment(),
            )  # fmt: skip
        with _one_at_a_time(self.state.parent):
            network.forward_packets(self._forwarding, changed=network.is_connected(self.name))
        pid = self._sandbox_pid()
        network.connect(self.name, addresses, node_pid=pid, state=self.state)

    def _sandbox_pid(self) -> int:
        """Pid of `unshare`, after it left the host's network namespace."""
        ours = Path("/proc/self/ns/net").readlink()

        def left() -> bool:
            handle = self.sandbox.handle()
            return handle is not None and Path(f"/proc/{handle.pid}/ns/net").readlink() != ours

        wait_until(left, what="the node's namespaces", timeout_seconds=20, still_possible=self._sandbox_died)
        handle = self.sandbox.handle()
        if handle is None:
            raise ClusterError(f"the node ended; end of its log:\n{self.sandbox.log_tail()}")
        return handle.pid

    def _sandbox_died(self) -> str | None:
        return None if self.sandbox.alive() else f"the node ended; end of its log:\n{self.sandbox.log_tail()}"

    def _wait_for_containerd(self) -> None:
        wait_until(
            lambda: images.containerd_answers(self.containerd_socket),
            what="containerd",
            timeout_seconds=60,
            still_possible=self._sandbox_died,
        )

    def _wait_for_node(self, binaries: Binaries, control_plane: ControlPlaneSpec) -> None:
        status = ("node", self.node_name, '-o=jsonpath={.status.conditions[?(@.type=="Ready")].status}')
        # The condition Ready may come from a kubelet that is dead now. Only a live one answers through the API server.
        health = ("--raw", f"/api/v1/nodes/{self.node_name}/proxy/healthz")
        kubectl = [str(binaries.path("kubectl")), f"--kubeconfig={control_plane.kubeconfig}"]
        kubectl += [f"--cache-dir={self.state / 'kubectl-cache'}", "get"]

        def ready() -> bool:
            said = [
                subprocess.run(
                    [*kubectl, *query], capture_output=True, text=True, check=False, env=marked(self.state)
                ).stdout.strip()
                for query in (status, health)
            ]
            return said == ["True", "ok"]

        logs = self.state / "logs"
        wait_until(
            ready,
            what=f"the node to be Ready (logs: {logs}/kubelet.log, containerd.log)",
            timeout_seconds=180,
            still_possible=self._sandbox_died,
            poll_seconds=0.5,
        )
        say(f"node {self.node_name} is Ready")

    def _kill_pods(self) -> None:
        """Wait until the pods ended with the node's pid namespace, and kill processes that are left in the cgroup."""

        def gone() -> bool:
            left = cgroups.processes(self.name) | marked_processes(self.state)
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return not left

        wait_until(gone, what="the node's processes to end", timeout_seconds=30)

    def _unmount_leftovers(self) -> None:
        """Mounts under the state folder on the host. We make none; a deletion must not go through one made by hand."""
        for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
            target = line.split()[4].encode().decode("unicode_escape")
            if Path(target).is_relative_to(self.state):
                subprocess.run(["umount", "--lazy", target], check=True, capture_output=True)


def _addresses(document: Mapping[str, Any]) -> network.Addresses:
    return network.Addresses(ipaddress.IPv4Network(document["block"]))


def _node_environment() -> dict[str, str]:
    path = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}


@contextlib.contextmanager
def _one_at_a_time(state_root: Path) -> Iterator[None]:
    """Let one cluster at a time read the other clusters' records about the machine, and write its own."""
    folder = os.open(state_root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


@contextlib.contextmanager
def _lock(state: Path) -> Iterator[None]:
    """Let one `up` or `down` at a time work on a cluster.

    `down` deletes the folder that contains the lock. A run that waited then holds the lock of a deleted file, and takes
    the new one.
    """
    path = state / ".lock"
    while True:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"waiting for another run that works on the cluster in {state}")
                fcntl.flock(file, fcntl.LOCK_EX)
            if path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                yield
                return
