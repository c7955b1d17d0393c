"""Registers the watches. Only events are used: kopf then writes no annotation and no finalizer on anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import kopf

from andante.app.children import SERVICE_LABEL
from andante.app.kinds import SERVICE, ObjectKind
from andante.app.world import World, service_of
from andante.runtime.queue import ReconcileQueue


def register(
    registry: kopf.OperatorRegistry,
    settings: kopf.OperatorSettings,
    *,
    kinds: Iterable[ObjectKind],
    world: World,
    queue: ReconcileQueue,
    on_list: Callable[[str], None],
) -> None:
    """Watch services, and of `kinds` the children and pods that carry their label.

    on_list is told the kind of every object that a fresh list brought: a list means that a watch was cut off, and what
    was deleted meanwhile no event will tell.
    """

    def handler(of: ObjectKind) -> Any:
        async def on_event(event: kopf.RawEvent, **_: Any) -> None:
            # Items of a list carry no kind of their own.
            obj = {**event["object"], "kind": of.kind, "apiVersion": of.api_version}
            if event["type"] is None:
                on_list(of.kind)
            if world.drop(obj) if event["type"] == "DELETED" else world.put(obj):
                queue.add(*service_of(obj))

        return on_event

    for kind in (SERVICE, *kinds):
        watched = (kind.group, kind.version, kind.plural)
        kopf.on.event(*watched, registry=registry, id=f"watch-{kind.plural}")(handler(kind))
        if kind is not SERVICE:
            # Filtered by the API server: a cluster's other pods and ConfigMaps never travel here.
            settings.watching.label_selectors[kind.group, kind.plural] = SERVICE_LABEL
