"""A control plane with namespaces, and the operator beside it as the chart starts it."""

from __future__ import annotations

import json
import os
import ssl
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import yaml
from benchmarks.operator_bench.processes import OwnMetrics, Process
from hack.free_ports import free_ports
from hack.localcluster.api import ControlPlane
from hack.localcluster.progress import wait_until

ROOT = Path(__file__).resolve().parents[2]
AT_ONCE = 8
"""Calls of the benchmark's own at the same time."""


class API:
    """Plain JSON over HTTP to the API server."""

    def __init__(self, plane: ControlPlane) -> None:
        self.client = httpx.Client(
            base_url=plane.server,
            verify=ssl.create_default_context(cafile=str(plane.ca)),
            headers={"Authorization": f"Bearer {plane.token}"},
            timeout=60,
            limits=httpx.Limits(max_connections=AT_ONCE + 2),
            trust_env=False,
        )

    def count(self, path: str) -> int:
        """Objects of a collection."""
        listed = self.client.get(path, params={"limit": 1}).json()
        return len(listed["items"]) + int(listed["metadata"].get("remainingItemCount") or 0)

    def items(self, path: str) -> Iterable[dict[str, Any]]:
        """Objects of a collection, page by page."""
        token = ""
        while True:
            page = self.client.get(path, params={"limit": 500, "continue": token}).json()
            yield from page["items"]
            token = page["metadata"].get("continue") or ""
            if not token:
                return

    def each(self, call: Callable[[Any], httpx.Response], what: Iterable[Any]) -> None:
        """`call` for each of `what`, several at a time. Raises what the first that is refused says."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for answer in pool.map(call, what):
                answer.raise_for_status()


def install_crds(plane: ControlPlane, namespace: str) -> None:
    """Ours, until they are served."""
    plane.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
    wait_served(plane, namespace, "llmservices")


def wait_served(plane: ControlPlane, namespace: str, plural: str) -> None:
    """Until the API server serves a resource."""
    wait_until(
        lambda: plane.kubectl("-n", namespace, "get", plural, check=False).returncode == 0,
        what=f"the API server to serve {plural}",
        timeout_seconds=60,
        poll_seconds=0.2,
    )


def service(namespace: str, name: str, **scaling: Any) -> dict[str, Any]:
    """An LLMService on a virtual GPU."""
    return {
        "apiVersion": "andante.dev/v1alpha1",
        "kind": "LLMService",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "model": {"id": "synthetic", "source": {"synthetic": {}}, "maxModelLen": 4096},
            "engine": {"gpusPerReplica": 0, "virtualGPU": {"profile": "llama-3-8b-1xa100"}},
            **({"scaling": scaling} if scaling else {}),
        },
    }


class OperatorProcess:
    """Ours, as the chart starts it, but for ports and kubeconfig; it has ticked once the block begins."""

    def __init__(self, plane: ControlPlane, folder: Path, *, name: str, **settings: Any) -> None:
        health, port = free_ports(2)
        config = folder / f"{name}.yaml"
        images = {"engineImage": "example.invalid/engine:1", "operatorImage": "example.invalid/operator:1"}
        config.write_text(yaml.safe_dump({**images, "operatorNamespace": "default", **settings}))
        command = [sys.executable, "-m", "andante.entry", "--config", str(config)]
        command += ["--health-port", str(health), "--metrics-port", str(port)]
        environment = {**os.environ, "KUBECONFIG": str(plane.kubeconfig), "PYTHONPATH": str(ROOT / "operator")}
        self.metrics = OwnMetrics(port)
        self.process = Process(command, log=folder / f"{name}.log", environment=environment)

    def __enter__(self) -> OperatorProcess:
        wait_until(
            self.metrics.ticked,
            what="the operator's first tick",
            timeout_seconds=180,
            still_possible=self.process.check,
            poll_seconds=0.5,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stop()


def make_namespaces(plane: ControlPlane, names: Iterable[str]) -> None:
    """Namespaces in which pods may be made at once."""
    for name in names:
        manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        plane.kubectl("create", "-f", "-", stdin=json.dumps(manifest))
