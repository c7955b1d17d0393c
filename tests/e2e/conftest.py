"""Installs Andante on a real node from the repository's chart, once for all end-to-end tests of a run.

Most of their time is waiting, so the folders below run side by side, each in a process and on a cluster of its own:
`changes` (one service and all that may happen to it), `install` (every way to a first answer), `on_call` (alerts).
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hack.install import ROOT, Installation, install, kubectl_binary, service_url
from hack.localcluster.target import Target

DEFAULT_CLUSTER = "andante-e2e"
NAMESPACE = "e2e"
SYSTEM = "andante-system"
OPERATOR = "app.kubernetes.io/name=andante-operator"


@dataclass(frozen=True, slots=True)
class Service:
    """An LLMService that is Ready, and kubectl for its namespace."""

    installation: Installation
    kubectl_path: str

    @property
    def url(self) -> str:
        """Present URL of the Service, which gets another address when it is deleted and made again.

        Returns when connections are accepted there: kube-proxy makes the rules of a new Service a second or more after
        its creation. An earlier connection is refused, or never gets an answer.
        """
        url = service_url(
            kubeconfig=self.installation.kubeconfig, namespace=NAMESPACE, service=self.installation.service
        )
        self.wait(f"connections to be accepted at {url}", lambda: accepts(url), timeout=60.0)
        return url

    @property
    def name(self) -> str:
        return self.installation.service

    def kubectl(self, *arguments: str, namespace: str = NAMESPACE, stdin: str | None = None) -> str:
        done = self._kubectl(arguments, namespace, stdin)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def try_kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """The whole output of kubectl, which may fail."""
        done = self._kubectl(arguments, NAMESPACE, stdin)
        return done.stdout + done.stderr

    def _kubectl(self, arguments: Sequence[str], namespace: str, stdin: str | None) -> subprocess.CompletedProcess[str]:
        command = [self.kubectl_path, "--kubeconfig", str(self.installation.kubeconfig), "-n", namespace, *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=180)

    def resource(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl("get", "llmservice", self.name, "-o", "json"))
        return found

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.resource().get("status", {})
        return found

    def pods(self) -> list[dict[str, Any]]:
        listed = self.kubectl("get", "pods", "-l", f"andante.dev/llmservice={self.name}", "-o", "json")
        found: list[dict[str, Any]] = json.loads(listed)["items"]
        return [p for p in found if "deletionTimestamp" not in p["metadata"]]

    def patch(self, spec: dict[str, Any]) -> None:
        self.kubectl("patch", "llmservice", self.name, "--type", "merge", "-p", json.dumps({"spec": spec}))

    def scale(self, replicas: int) -> None:
        """Set the replicas, in Manual mode."""
        self.patch({"scaling": {"mode": "Manual"}, "replicas": replicas})

    def wait(self, what: str, holds: Callable[[], bool], *, timeout: float = 420.0) -> None:
        """Poll until `holds` returns True. A failure shows `what` and the resource's status."""
        until = time.monotonic() + timeout
        while not holds():
            if time.monotonic() > until:
                pytest.fail(f"waited {timeout:.0f} s for: {what}\n{json.dumps(self.status(), indent=1)}")
            time.sleep(0.5)

    def wait_replicas(self, count: int) -> None:
        self.wait(f"{count} ready replicas", lambda: self.status().get("readyReplicas", 0) == count)

    def condition(self, kind: str) -> str:
        conditions = {c["type"]: c["status"] for c in self.status().get("conditions", [])}
        return conditions.get(kind, "Absent")


def accepts(url: str) -> bool:
    """Whether a connection is made there now."""
    address = urlsplit(url)
    try:
        socket.create_connection((address.hostname, address.port), timeout=1.0).close()
    except OSError:
        return False
    return True


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cluster", default=DEFAULT_CLUSTER, help="the tests' cluster, made and removed")


@pytest.fixture(scope="session")
def cluster(pytestconfig: pytest.Config) -> Iterator[str]:
    """Name of the tests' cluster, which is removed at the end; first, the cluster of a killed run is removed."""
    name = str(pytestconfig.getoption("--cluster"))
    command = [sys.executable, "-m", "hack.localcluster", "down", "--name", name]
    subprocess.run(command, cwd=ROOT, check=True, timeout=300)
    try:
        yield name
    finally:
        subprocess.run(command, cwd=ROOT, check=True, timeout=300)


@pytest.fixture(scope="session")
def service_file() -> Path:
    return ROOT / "examples" / "llmservice.yaml"


@pytest.fixture(scope="session")
def applied(cluster: str, service_file: Path) -> Service:
    """The service, whose engine may still start."""
    installation = install(Target(cluster=cluster), namespace=NAMESPACE, service_file=service_file, say=print)
    return Service(installation, kubectl_binary())


@pytest.fixture(scope="session")
def service(applied: Service) -> Service:
    applied.wait("the service to be Ready", lambda: applied.condition("Ready") == "True")
    return applied
