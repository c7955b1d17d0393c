"""The smallest kopf operator that makes one child per resource: what bench_operator.py measures beside ours.

Run by kopf: `kopf run benchmarks/minimal_operator.py --all-namespaces --standalone`.
"""

from __future__ import annotations

from typing import Any

import kopf
import kubernetes


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.posting.enabled = False
    settings.scanning.disabled = True


@kopf.on.create("bench.andante.dev", "v1", "things")
def create(name: str, namespace: str, body: kopf.Body, **_: Any) -> None:
    child = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"for": name}}
    kopf.adopt(child, owner=body)
    kubernetes.client.CoreV1Api().create_namespaced_config_map(namespace, child)
