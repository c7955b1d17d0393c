"""What the operator has seen of the cluster: the newest version of every object that it watches."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from andante.ports import Object

Key = tuple[str, str, str]
"""Kind, namespace, name."""


def key_of(obj: Object) -> Key:
    """The key of an object."""
    return obj["kind"], obj["metadata"]["namespace"], obj["metadata"]["name"]


class World:
    """Filled by watches and by the answers to our own writes; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._objects: dict[str, dict[tuple[str, str], Object]] = {}

    def put(self, obj: Object) -> None:
        """Take an object in; an answer that is older than what is known is dropped."""
        kind, namespace, name = key_of(obj)
        with self._lock:
            of_kind = self._objects.setdefault(kind, {})
            known = of_kind.get((namespace, name))
            if known is None or _is_newer(obj, known):
                of_kind[namespace, name] = obj

    def drop(self, obj: Object) -> None:
        """Forget an object that was deleted, unless a new one of that name is known already."""
        kind, namespace, name = key_of(obj)
        with self._lock:
            known = self._objects.get(kind, {}).get((namespace, name))
            if known is not None and known["metadata"].get("uid") == obj["metadata"].get("uid"):
                del self._objects[kind][namespace, name]

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """The object, if it is there."""
        with self._lock:
            return self._objects.get(kind, {}).get((namespace, name))

    def all(self, kind: str, *, namespace: str | None = None, labels: Mapping[str, str] | None = None) -> list[Object]:
        """Objects of a kind, optionally of a namespace and with these labels."""
        with self._lock:
            found = list(self._objects.get(kind, {}).values())
        return [
            o
            for o in found
            if (namespace is None or o["metadata"]["namespace"] == namespace)
            and (labels is None or labels.items() <= (o["metadata"].get("labels") or {}).items())
        ]


def _is_newer(obj: Object, known: Object) -> bool:
    if obj["metadata"].get("uid") != known["metadata"].get("uid"):
        return True
    try:
        return int(obj["metadata"]["resourceVersion"]) >= int(known["metadata"]["resourceVersion"])
    except (KeyError, ValueError):
        return True


def contains(live: Any, wanted: Any) -> bool:
    """Whether `live` says everything that `wanted` says; the API server adds fields, it does not reorder lists."""
    if isinstance(wanted, Mapping):
        return isinstance(live, Mapping) and all(k in live and contains(live[k], v) for k, v in wanted.items())
    if isinstance(wanted, list | tuple):
        return (
            isinstance(live, list | tuple)
            and len(live) == len(wanted)
            and all(contains(a, b) for a, b in zip(live, wanted, strict=True))
        )
    return bool(live == wanted)


def merge_patch(live: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON merge patch (RFC 7386) that turns `live` into `wanted`; empty when they are equal."""
    patch: dict[str, Any] = {key: None for key in live if key not in wanted}
    for key, value in wanted.items():
        before = live.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            inner = merge_patch(before, value)
            if inner:
                patch[key] = inner
        elif key not in live or before != value:
            patch[key] = value
    return patch
