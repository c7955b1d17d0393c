"""Registers the watches. Only events are used: kopf then writes no annotation and no finalizer on anything."""

from __future__ import annotations

from typing import Any

import kopf

from andante.api.v1alpha1 import GROUP, KIND, PLURAL, VERSION
from andante.app.children import SERVICE_LABEL
from andante.app.world import World
from andante.handlers.queue import ReconcileQueue

CHILDREN: tuple[tuple[str, str, str, str], ...] = (
    ("apps", "v1", "deployments", "Deployment"),
    ("", "v1", "services", "Service"),
    ("", "v1", "configmaps", "ConfigMap"),
    ("", "v1", "serviceaccounts", "ServiceAccount"),
    ("", "v1", "pods", "Pod"),
    ("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget"),
    ("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy"),
)


def register(registry: kopf.OperatorRegistry, *, world: World, queue: ReconcileQueue) -> None:
    """Watch services, and the children and pods that carry their label."""

    async def on_service(event: kopf.RawEvent, **_: Any) -> None:
        obj = _typed(event["object"], kind=KIND)
        if event["type"] == "DELETED":
            world.drop(obj)
        else:
            world.put(obj)
        queue.add(obj["metadata"]["namespace"], obj["metadata"]["name"])

    kopf.on.event(GROUP, VERSION, PLURAL, registry=registry, id="service")(on_service)
    for group, version, plural, kind in CHILDREN:
        kopf.on.event(
            group,
            version,
            plural,
            labels={SERVICE_LABEL: kopf.PRESENT},
            registry=registry,
            id=f"child-{plural}",
            param=kind,
        )(_child_handler(world, queue))


def _child_handler(world: World, queue: ReconcileQueue) -> Any:
    async def on_child(event: kopf.RawEvent, param: str, **_: Any) -> None:
        obj = _typed(event["object"], kind=param)
        if event["type"] == "DELETED":
            world.drop(obj)
        else:
            world.put(obj)
        queue.add(obj["metadata"]["namespace"], obj["metadata"]["labels"][SERVICE_LABEL])

    return on_child


def _typed(obj: Any, *, kind: str) -> dict[str, Any]:
    # Items of a list carry no kind of their own.
    return {**obj, "kind": kind, "apiVersion": obj.get("apiVersion") or ""}
