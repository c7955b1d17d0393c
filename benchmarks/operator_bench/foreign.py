"""What objects cost that carry our label and belong to nobody: anybody who may make a ConfigMap can make them."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.operator_bench.plane import API, OperatorProcess, install_crds, make_namespaces, service
from hack.localcluster.api import ControlPlane
from hack.localcluster.progress import say

NAMESPACE = "bench"
BYTES = 900_000
_SERVICES = 20


def foreign(folder: Path, *, count: int) -> dict[str, float]:
    """Memory at most of an operator that starts without `count` large foreign ConfigMaps, and with them; the same once
    more where they come while it runs. MiB.
    """
    with ControlPlane() as plane:
        make_namespaces(plane, [NAMESPACE])
        install_crds(plane, NAMESPACE)
        api = API(plane)
        services = f"/apis/andante.dev/v1alpha1/namespaces/{NAMESPACE}/llmservices"
        names = [f"s{number:04d}" for number in range(_SERVICES)]
        api.each(lambda name: api.client.post(services, json=service(NAMESPACE, name)), names)
        with OperatorProcess(plane, folder, name="foreign-first"):
            time.sleep(20)
        say(f"{count} foreign ConfigMaps of {BYTES / 1e6:g} MB")
        with OperatorProcess(plane, folder, name="foreign-none", resyncSeconds=10) as operator:
            time.sleep(15)
            none = operator.process.memory_mib("VmHWM")
            api.each(lambda number: _create(api, number), range(count))
            time.sleep(15)
            came = operator.process.memory_mib("VmHWM")
        with OperatorProcess(plane, folder, name="foreign-there", resyncSeconds=10) as operator:
            time.sleep(15)
            there = operator.process.memory_mib("VmHWM")
    return {
        "memory_peak_mib_without": round(none, 1),
        "memory_peak_mib_when_they_came": round(came, 1),
        "memory_peak_mib_at_a_start_with_them": round(there, 1),
        "foreign_config_maps_cost_mib": round(max(came, there) - none, 1),
    }


def _create(api, number):  # type: ignore[no-untyped-def]
    metadata = {"name": f"foreign-{number:04d}", "labels": {"andante.dev/llmservice": f"s{number % _SERVICES:04d}"}}
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"x": "x" * BYTES}}
    return api.client.post(f"/api/v1/namespaces/{NAMESPACE}/configmaps", json=body)
