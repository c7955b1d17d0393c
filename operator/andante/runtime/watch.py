"""Registers the watches. Only events are used: kopf then writes no annotation and no finalizer on anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import kopf

from andante.api.v1alpha1 import GROUP, KIND, PLURAL, VERSION
from andante.app.children import SERVICE_LABEL
from andante.app.world import World, service_of
from andante.runtime.queue import ReconcileQueue

CHILDREN: Mapping[str, tuple[str, str, str]] = {
    "Deployment": ("apps", "v1", "deployments"),
    "Service": ("", "v1", "services"),
    "ConfigMap": ("", "v1", "configmaps"),
    "ServiceAccount": ("", "v1", "serviceaccounts"),
    "Pod": ("", "v1", "pods"),
    "PodDisruptionBudget": ("policy", "v1", "poddisruptionbudgets"),
    "NetworkPolicy": ("networking.k8s.io", "v1", "networkpolicies"),
    "PodMonitor": ("monitoring.coreos.com", "v1", "podmonitors"),
}
"""Kind -> group, version, plural of what a service's children are."""


def register(
    registry: kopf.OperatorRegistry,
    settings: kopf.OperatorSettings,
    *,
    kinds: frozenset[str],
    world: World,
    queue: ReconcileQueue,
    on_list: Callable[[str], None],
) -> None:
    """Watch services, and the children and pods that carry their label; of optional kinds, those in `kinds`.

    on_list is told the kind of every object that a fresh list brought: a list means that a watch was cut off, and what
    was deleted meanwhile no event will tell.
    """

    def handler(kind: str, api_version: str) -> Any:
        async def on_event(event: kopf.RawEvent, **_: Any) -> None:
            # Items of a list carry no kind of their own.
            obj = {**event["object"], "kind": kind, "apiVersion": api_version}
            if event["type"] is None:
                on_list(kind)
            if world.drop(obj) if event["type"] == "DELETED" else world.put(obj):
                queue.add(*service_of(obj))

        return on_event

    kopf.on.event(GROUP, VERSION, PLURAL, registry=registry, id="service")(handler(KIND, f"{GROUP}/{VERSION}"))
    for kind, (group, version, plural) in CHILDREN.items():
        if kind in kinds:
            api_version = f"{group}/{version}" if group else version
            kopf.on.event(group, version, plural, registry=registry, id=f"child-{plural}")(handler(kind, api_version))
            # Filtered by the API server: a cluster's other pods and ConfigMaps never travel here.
            settings.watching.label_selectors[group, plural] = SERVICE_LABEL
