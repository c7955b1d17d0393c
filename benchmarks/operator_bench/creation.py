"""How long it takes until the children of many new resources are there, and what the operator costs when all is done.

Of ours and of the smallest kopf operator. Our calls are those that the operator counts, its Lease aside; the minimal
operator's, those that the API server counts.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from benchmarks.operator_bench.plane import API, OperatorProcess, install_crds, make_namespaces, service, wait_served
from benchmarks.operator_bench.processes import Process
from hack.free_ports import free_ports
from hack.localcluster.api import ControlPlane
from hack.localcluster.progress import say, wait_until

NAMESPACE = "bench"
THING_CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "things.bench.andante.dev"},
    "spec": {
        "group": "bench.andante.dev",
        "scope": "Namespaced",
        "names": {"plural": "things", "singular": "thing", "kind": "Thing"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                },
            }
        ],
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    """An operator and the resource that it serves."""

    name: str
    resources: str
    """Path of the resource's collection."""
    manifest: Callable[[str], dict[str, Any]]
    children: tuple[str, ...]
    """Paths of the children's collections."""
    process: Process
    calls: Callable[[], float]
    """Calls to the API server so far."""


def ours(folder: Path, *, services: int, idle_seconds: float) -> dict[str, float]:
    """Ours; no pod of it ever becomes ready."""
    with ControlPlane() as plane:
        make_namespaces(plane, [NAMESPACE])
        install_crds(plane, NAMESPACE)
        with OperatorProcess(plane, folder, name="creation") as operator:
            subject = _Subject(
                name="andante",
                resources=f"/apis/andante.dev/v1alpha1/namespaces/{NAMESPACE}/llmservices",
                manifest=lambda name: service(NAMESPACE, name),
                children=(
                    f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments",
                    f"/api/v1/namespaces/{NAMESPACE}/services",
                    f"/apis/policy/v1/namespaces/{NAMESPACE}/poddisruptionbudgets",
                ),
                process=operator.process,
                calls=operator.metrics.calls,
            )
            found = _measure(API(plane), subject, count=services, idle_seconds=idle_seconds)
            name = "andante_operator_reconcile_seconds"
            return {
                **found,
                "reconcile_p50_seconds_at_most": operator.metrics.quantile(name, 0.5),
                "reconcile_p99_seconds_at_most": operator.metrics.quantile(name, 0.99),
            }


def minimal(folder: Path, *, services: int, idle_seconds: float) -> dict[str, float]:
    """A kopf operator that makes one ConfigMap for each resource."""
    with ControlPlane() as plane:
        make_namespaces(plane, [NAMESPACE])
        plane.kubectl("apply", "-f", "-", stdin=json.dumps(THING_CRD))
        wait_served(plane, NAMESPACE, "things")
        code = Path(__file__).parents[1] / "minimal_operator.py"
        (port,) = free_ports(1)
        live = f"http://127.0.0.1:{port}/healthz"
        command = [sys.executable, "-m", "kopf", "run", str(code), "--all-namespaces", "--standalone"]
        command += [f"--liveness={live}"]
        environment = {**os.environ, "KUBECONFIG": str(plane.kubeconfig)}
        process = Process(command, log=folder / "minimal.log", environment=environment)
        api = API(plane)
        try:
            wait_until(
                lambda: _answers(live),
                what="the minimal operator to start",
                timeout_seconds=60,
                still_possible=process.check,
                poll_seconds=0.2,
            )
            subject = _Subject(
                name="minimal kopf operator",
                resources=f"/apis/bench.andante.dev/v1/namespaces/{NAMESPACE}/things",
                manifest=_thing,
                children=(f"/api/v1/namespaces/{NAMESPACE}/configmaps",),
                process=process,
                calls=lambda: _writes_to_things(api),
            )
            return _measure(api, subject, count=services, idle_seconds=idle_seconds)
        finally:
            process.stop()


def _thing(name: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "bench.andante.dev/v1", "kind": "Thing", "metadata": metadata, "spec": {}}


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _measure(api: API, subject: _Subject, *, count: int, idle_seconds: float) -> dict[str, float]:
    """Create all, wait for the children, then watch it idle."""
    process, calls = subject.process, subject.calls
    say(f"{subject.name}: creating {count} resources")
    before, cpu_before, started = calls(), process.cpu_seconds(), time.monotonic()
    api.each(
        lambda name: api.client.post(subject.resources, json=subject.manifest(name)),
        [f"s{number:04d}" for number in range(count)],
    )
    created = time.monotonic()
    wait_until(
        lambda: all(api.count(path) >= count for path in subject.children),
        what=f"the children of {count} resources",
        timeout_seconds=1200,
        still_possible=process.check,
        poll_seconds=1.0,
    )
    converged, cpu_converged = time.monotonic(), process.cpu_seconds()
    settled = _settle(subject)
    made = calls()
    say(f"{subject.name}: idle for {idle_seconds:.0f} s")
    cpu, idle_from = process.cpu_seconds(), time.monotonic()
    time.sleep(idle_seconds)
    idle = time.monotonic() - idle_from
    return {
        "seconds_to_create": round(created - started, 1),
        "seconds_to_converge": round(converged - started, 1),
        "cpu_seconds_to_converge": round(cpu_converged - cpu_before, 1),
        "seconds_until_nothing_changed": round(settled - started, 1),
        "api_calls_per_service": round((made - before) / count, 2),
        "api_calls_when_idle": calls() - made,
        "memory_mib": round(process.memory_mib(), 1),
        "memory_peak_mib": round(process.memory_mib("VmHWM"), 1),
        "cpu_when_idle_percent_of_a_core": round(100 * (process.cpu_seconds() - cpu) / idle, 2),
    }


def _settle(subject: _Subject) -> float:
    """Return when the operator's calls have stood still for a while; since when (monotonic) they do."""
    last, since = -1.0, time.monotonic()
    while time.monotonic() - since < 20:
        made = subject.calls()
        if made != last:
            last, since = made, time.monotonic()
        if reason := subject.process.check():
            raise SystemExit(reason)
        time.sleep(2)
    return since


def _writes_to_things(api: API) -> float:
    """As the API server counts them: nobody else writes things and ConfigMaps there."""
    total = 0.0
    for line in api.client.get("/metrics").text.splitlines():
        if not line.startswith("apiserver_request_total{"):
            continue
        sample, value = line.rsplit(" ", 1)
        writes = any(f'verb="{verb}"' in sample for verb in ("PATCH", "POST", "PUT", "DELETE"))
        its = 'resource="things"' in sample and 'verb="POST"' not in sample
        if writes and (its or 'resource="configmaps"' in sample):
            total += float(value)
    return total
