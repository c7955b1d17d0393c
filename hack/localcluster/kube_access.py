"""Gives tests access to a cluster: kubectl, service accounts, fake nodes, and outages of the API server."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from hack.localcluster.binaries import Binaries
from hack.localcluster.control_plane import ControlPlaneProcesses
from hack.localcluster.errors import ClusterError
from hack.localcluster.kubeconfig import write_kubeconfig


class KubeAccess:
    """The members that ControlPlane and Cluster share. A subclass sets the two fields when it starts."""

    _processes: ControlPlaneProcesses
    _binaries: Binaries

    @property
    def kubeconfig(self) -> Path:
        """The cluster-admin's kubeconfig."""
        return self._processes.spec.kubeconfig

    @property
    def state(self) -> Path:
        """Folder of this cluster: logs/, run/, pki/."""
        return self._processes.spec.state

    @property
    def server(self) -> str:
        """URL of the API server."""
        return self._processes.spec.server

    @property
    def ca(self) -> Path:
        """PEM file of the authority that signed the API server's certificate."""
        return self._processes.spec.authority.ca.cert

    @property
    def token(self) -> str:
        """Bearer token of a cluster-admin."""
        return self._processes.admin_token

    @property
    def kubectl_path(self) -> Path:
        return self._binaries.path("kubectl")

    def kubectl(
        self,
        *args: str,
        stdin: str | None = None,
        check: bool = True,
        timeout_seconds: float = 120.0,
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl as cluster-admin. With `check`, raises ClusterError with kubectl's message when it fails."""
        done = subprocess.run(
            [
                str(self.kubectl_path),
                f"--kubeconfig={self.kubeconfig}",
                f"--cache-dir={self.state / 'kubectl-cache'}",
                *args,
            ],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_seconds,
        )
        if check and done.returncode != 0:
            raise ClusterError(f"kubectl {' '.join(args)}: {done.stderr.strip() or done.stdout.strip()}")
        return done

    def kubeconfig_for_service_account(self, namespace: str, name: str) -> Path:
        """A kubeconfig that acts as an existing service account, with its RBAC and nothing else (token: 10 h)."""
        token = self.kubectl("create", "token", name, "-n", namespace, "--duration=10h").stdout.strip()
        path = self.state / "kubeconfigs" / f"sa_{namespace}_{name}.json"
        write_kubeconfig(path, name=name, server=self.server, ca=self.ca, token=token, namespace=namespace)
        return path

    def add_node(self, name: str, extended_resources: Mapping[str, str] | None = None) -> None:
        """A Ready node without a kubelet, with 64 CPUs, 512 GiB and `extended_resources`; for scheduler tests. It
        never runs a pod, and the node controller taints it ~40 s later, as no kubelet renews its lease."""
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
        self.kubectl("apply", "-f", "-", stdin=json.dumps(node))
        resources = {"cpu": "64", "memory": "512Gi", "pods": "500", **(extended_resources or {})}
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "added by a test"}
        status = {"status": {"capacity": resources, "allocatable": resources, "conditions": [ready]}}
        self.kubectl("patch", "node", name, "--subresource=status", "--type=merge", "-p", json.dumps(status))
        self.kubectl("taint", "node", name, "node.kubernetes.io/not-ready-", check=False)

    def stop_apiserver(self) -> None:
        """Stop kube-apiserver; etcd and the controllers stay."""
        self._processes.service("kube-apiserver").stop(grace_seconds=2.0)

    def start_apiserver(self) -> None:
        """Start it again on the same port; returns once it is ready."""
        self._processes.start_apiserver()

    def restart_apiserver(self) -> None:
        self.stop_apiserver()
        self.start_apiserver()

    @contextlib.contextmanager
    def apiserver_down(self) -> Iterator[None]:
        """The API server refuses connections inside the block."""
        self.stop_apiserver()
        try:
            yield
        finally:
            self.start_apiserver()

    def pause_apiserver(self) -> None:
        """SIGSTOP: connections are accepted by the kernel and never answered."""
        self._processes.service("kube-apiserver").signal(signal.SIGSTOP)

    def resume_apiserver(self) -> None:
        self._processes.service("kube-apiserver").signal(signal.SIGCONT)
        self._processes.wait_ready()
