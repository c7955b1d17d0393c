"""Keeps the newest version of every object that the operator watches."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from andante.api.v1alpha1 import KIND
from andante.app.children import KINDS, SERVICE_LABEL
from andante.app.kinds import POD
from andante.app.slim import belongs, is_partial, slim
from andante.ports import Object

Key = tuple[str, str, str]
"""Kind, namespace, name."""
_REMEMBERED_DELETIONS = 4_096
"""Far more objects than can be deleted while we wait for the answer to one of our writes."""


def key_of(obj: Object) -> Key:
    """The key of an object."""
    return obj["kind"], obj["metadata"]["namespace"], obj["metadata"]["name"]


def service_of(obj: Object) -> tuple[str, str]:
    """Namespace and name of the service to which an object belongs: by its label, or the service itself."""
    metadata = obj["metadata"]
    labels = {} if obj["kind"] == KIND else metadata.get("labels") or {}
    return metadata["namespace"], labels.get(SERVICE_LABEL, metadata["name"])


class World:
    """Takes objects from watches, lists and answers to our own writes. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._objects: dict[Key, Object] = {}
        # Indexed by kind and service: a tick over all services must not look at all pods for each service.
        self._of_service: dict[tuple[str, str, str], set[Key]] = {}
        self._count: Counter[str] = Counter()
        # Uids of deleted objects and the versions of their deletion, oldest first: the answer to our own write may
        # arrive after the deletion, and must not bring the object back.
        self._gone: dict[str, int] = {}

    def put(self, obj: Object, *, partial: bool = False) -> bool:
        """Take an object; return whether it was news. A version older than the known one, or its deletion, is dropped.

        An object that belongs to no service is not kept. Of objects whose number has no limit only the metadata are
        kept. `partial`: `obj` has only metadata.
        """
        key = key_of(obj)
        if not belongs(obj):
            return self.drop(obj)
        partial = partial or not _may_be_large(obj)
        with self._lock:
            known = self._objects.get(key)
            if known is not None and not _is_newer(obj, known):
                if is_partial(known) and not partial and _version(obj) == _version(known):
                    self._objects[key] = slim(obj)  # fill in the content of the known version
                return False
            if known is None and _version(obj) <= self._gone.get(_uid(obj), -1):
                return False
            self._forget(key)
            self._objects[key] = slim(obj, partial=partial)
            self._count[key[0]] += 1
            self._of_service.setdefault((key[0], *service_of(obj)), set()).add(key)
            return True

    def drop(self, obj: Object) -> bool:
        """Forget an object that was deleted, or lost the label of the watch; return whether this was news.

        The object stays where a new object of this name is known, or a newer version, which has the label again.
        """
        key = key_of(obj)
        with self._lock:
            known = self._objects.get(key)
            if known is not None and _uid(known) == _uid(obj) and _version(known) > _version(obj) > 0:
                return False
            self._bury(obj, _version(obj))
            if known is None or _uid(known) != _uid(obj):
                return False
            self._forget(key)
            return True

    def replace(
        self, kind: str, objects: Iterable[Object], *, version: int, namespace: str | None = None, partial: bool = False
    ) -> set[tuple[str, str]]:
        """Take a complete list of a kind (of one namespace, or of all) at `version`; return the services that changed.

        A watch that was cut off does not report deletions from that time; a list shows them.
        """
        services: set[tuple[str, str]] = set()
        listed: set[Key] = set()
        for obj in objects:
            listed.add(key_of(obj))
            if self.put(obj, partial=partial):
                services.add(service_of(obj))
        with self._lock:
            gone = [
                (key, obj)
                for key, obj in self._objects.items()
                if key[0] == kind
                and key not in listed
                and (namespace is None or key[1] == namespace)
                and _version(obj) <= version
            ]
            for key, obj in gone:
                services.add(service_of(obj))
                self._bury(obj, version)
                self._forget(key)
        return services

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """The object, or None."""
        with self._lock:
            return self._objects.get((kind, namespace, name))

    def count(self, kind: str) -> int:
        """The number of objects of a kind that are kept."""
        return self._count[kind]

    def all(self, kind: str) -> list[Object]:
        """All objects of a kind."""
        with self._lock:
            return [obj for key, obj in self._objects.items() if key[0] == kind]

    def of_service(self, kind: str, namespace: str, name: str) -> list[Object]:
        """Objects of a kind that carry the service's label, by name."""
        with self._lock:
            keys = sorted(self._of_service.get((kind, namespace, name), ()))
            return [self._objects[key] for key in keys]

    def _bury(self, obj: Object, version: int) -> None:
        uid = _uid(obj)
        if not uid:
            return
        self._gone[uid] = max(version, self._gone.pop(uid, -1))
        while len(self._gone) > _REMEMBERED_DELETIONS:
            del self._gone[next(iter(self._gone))]

    def _forget(self, key: Key) -> None:
        obj = self._objects.pop(key, None)
        if obj is not None:
            self._count[key[0]] -= 1
            index = (key[0], *service_of(obj))
            self._of_service[index].discard(key)
            if not self._of_service[index]:
                del self._of_service[index]


def _may_be_large(obj: Object) -> bool:
    """Whether an object may be kept with its content: anybody can create many objects with an LLMService as owner.

    Of most kinds, only the one object with the service's own name keeps its content.
    """
    kind = obj["kind"]
    if kind in (KIND, POD.kind) or (kind in KINDS and KINDS[kind].metadata_only):
        return True
    return bool(obj["metadata"]["name"] == service_of(obj)[1])


def _uid(obj: Object) -> str:
    return str(obj["metadata"].get("uid") or "")


def _version(obj: Object) -> int:
    try:
        return int(obj["metadata"]["resourceVersion"])
    except (KeyError, ValueError):
        return 0


def _is_newer(obj: Object, known: Object) -> bool:
    """Versions rise over all objects of a kind, so a late answer about a deleted object is older than its successor."""
    return _version(obj) > _version(known)


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


def patched(live: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """What a JSON merge patch makes of `live`."""
    result = {key: value for key, value in live.items() if key not in patch}
    for key, value in patch.items():
        before = live.get(key)
        if isinstance(value, Mapping):
            result[key] = patched(before if isinstance(before, Mapping) else {}, value)
        elif value is not None:
            result[key] = value
    return result
