"""Runs the operator as a process against a control plane, and gives tests access to it and to its services."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import yaml
from hack.free_ports import free_ports
from hack.localcluster.api import ControlPlane

from object_reader import ObjectReader

ROOT = Path(__file__).resolve().parents[1]
TICK_SECONDS = 1.0


def wait_for(what: str, holds: Callable[[], Any], *, timeout: float = 60.0, told: Callable[[], str] = str) -> Any:
    """Poll until `holds` returns something true, and return it. A failure names `what`."""
    until = time.monotonic() + timeout
    while True:
        found = holds()
        if found:
            return found
        if time.monotonic() > until:
            raise AssertionError(f"waited {timeout:.0f} s for {what}, which did not happen; {told()}")
        time.sleep(0.1)


class OperatorProcess:
    """One `andante-operator` for some namespaces; a test can start, stop, kill and restart it."""

    def __init__(self, control_plane: ControlPlane, folder: Path, *, namespaces: list[str], **settings: Any) -> None:
        self._plane, self._folder = control_plane, folder
        self.health_port, self.metrics_port = free_ports(2)
        self.settings = {
            "engineImage": "example.invalid/vllm:test",
            "operatorImage": "example.invalid/andante-operator:test",
            "tickSeconds": TICK_SECONDS,
            "scrapeTimeoutSeconds": 2,
            "watchNamespaces": namespaces,
            "operatorNamespace": namespaces[0] if namespaces else "default",
            **settings,
        }
        """operator.yaml, written at each start."""
        self._process: subprocess.Popen[bytes] | None = None
        self.kubeconfig = control_plane.kubeconfig
        self.log = folder / "operator.log"
        self.environment: dict[str, str] = {}
        """Environment variables, in addition to those of the test."""

    def start(self, *, wait: bool = True) -> OperatorProcess:
        config = self._folder / "operator.yaml"
        config.write_text(yaml.safe_dump(self.settings))
        environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig), "PYTHONPATH": str(ROOT / "operator")}
        environment |= self.environment
        command = [sys.executable, "-m", "andante.entry", "--config", str(config)]
        command += ["--identity", f"test-{self.health_port}"]  # as a pod's container that restarts
        command += ["--health-port", str(self.health_port), "--metrics-port", str(self.metrics_port)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=self._folder)
        if wait:
            self.wait_working()
        return self

    def wait_working(self) -> None:
        """Wait for the first tick, which comes after the first list of the cluster."""
        wait_for("the operator's first tick", lambda: self.metric("andante_operator_ticks_total") > 0, told=self.tail)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def exit_status(self) -> int | None:
        """Exit status of the process; None while it runs."""
        return None if self._process is None else self._process.poll()

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def wait_exit(self, *, timeout: float = 40.0) -> int:
        assert self._process is not None
        return self._process.wait(timeout)

    def stop(self) -> int | None:
        """Send SIGTERM, as the kubelet does. Returns the exit status, or None where no process ran."""
        if self._process is None or self._process.poll() is not None:
            return None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(30)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)

    def tail(self) -> str:
        return "the operator's log ends with:\n" + self.log.read_text()[-4000:]

    def metric(self, name: str, **labels: str) -> float:
        """Sum of the samples of that name that have `labels`; 0 while the operator does not answer."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        return sum(value for sample, value in self._samples(name) if all(w in sample for w in wanted))

    def health(self, path: str = "/healthz") -> tuple[int, dict[str, Any]]:
        """HTTP status and JSON body of the operator's health."""
        answer = httpx.get(f"http://127.0.0.1:{self.health_port}{path}", timeout=5, trust_env=False)
        return answer.status_code, answer.json()

    def api_calls(self) -> float:
        """Number of API calls since the start, without those for the operator's Lease."""
        samples = self._samples("andante_operator_api_calls_total")
        return sum(value for sample, value in samples if 'kind="Lease"' not in sample)

    def _samples(self, name: str) -> list[tuple[str, float]]:
        try:
            text = httpx.get(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=5, trust_env=False).text
        except httpx.HTTPError:
            return []
        rows = [line.rsplit(" ", 1) for line in text.splitlines() if line.split("{")[0].split(" ")[0] == name]
        return [(sample, float(value)) for sample, value in rows]


class Namespace:
    """kubectl for one namespace, with the operations that tests need."""

    def __init__(self, control_plane: ControlPlane, name: str) -> None:
        self.plane, self.name = control_plane, name
        self._reader = ObjectReader(control_plane, name)

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        return self.plane.kubectl("-n", self.name, *arguments, stdin=stdin, check=check).stdout

    def apply(self, *, name: str = "chat", **spec: Any) -> None:
        self.kubectl("apply", "-f", "-", stdin=json.dumps(service_manifest(name=name, **spec)))

    def patch(self, spec: dict[str, Any], *, name: str = "chat") -> None:
        self.kubectl("patch", "llmservice", name, "--type=merge", "-p", json.dumps({"spec": spec}))

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """The object, or None."""
        if self._reader.knows(kind):
            return self._reader.get(kind, name)
        text = self.kubectl("get", kind, name, "-o", "json", "--ignore-not-found", "--show-managed-fields")
        return json.loads(text) if text.strip() else None

    def items(self, kinds: str) -> list[dict[str, Any]]:
        if self._reader.knows(kinds):
            return self._reader.items(kinds)
        found: list[dict[str, Any]] = json.loads(self.kubectl("get", kinds, "-o", "json"))["items"]
        return found

    def status(self, name: str = "chat") -> dict[str, Any]:
        return (self.get("llmservice", name) or {}).get("status") or {}

    def condition(self, kind: str, name: str = "chat") -> dict[str, Any]:
        conditions = {c["type"]: c for c in self.status(name).get("conditions", [])}
        return conditions.get(kind, {"status": "Absent", "reason": "Absent", "message": ""})

    def replicas(self, name: str = "chat") -> int | None:
        deployment = self.get("deployment", name)
        return deployment["spec"]["replicas"] if deployment else None

    def events(self) -> list[tuple[str, str]]:
        """(reason, message) of the events about LLMServices."""
        return [
            (e["reason"], e["message"]) for e in self.items("events") if e["involvedObject"]["kind"] == "LLMService"
        ]

    def wait_condition(self, kind: str, status: str, reason: str, *, name: str = "chat", timeout: float = 60.0) -> str:
        """Wait until the condition has this status and reason; return its message."""

        def found() -> dict[str, Any] | None:
            condition = self.condition(kind, name)
            return condition if (condition["status"], condition["reason"]) == (status, reason) else None

        message: str = wait_for(
            f"{kind}={status} ({reason})", found, timeout=timeout, told=lambda: json.dumps(self.status(name))[:3000]
        )["message"]
        return message


def service_manifest(*, name: str = "chat", **spec: Any) -> dict[str, Any]:
    """A small valid LLMService on the virtual GPU; `spec` fields replace those here."""
    return {
        "apiVersion": "andante.dev/v1alpha1",
        "kind": "LLMService",
        "metadata": {"name": name},
        "spec": {
            "model": {"id": "synthetic", "source": {"synthetic": {}}, "maxModelLen": 4096},
            "engine": {
                "gpusPerReplica": 0,
                "virtualGPU": {"profile": "llama-3-8b-1xa100", "kvCapacityTokens": 61440},
            },
            **spec,
        },
    }
