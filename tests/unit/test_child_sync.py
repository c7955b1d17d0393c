"""Children are looked at again whenever one of them changed, whenever the news of that comes in."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Mapping
from typing import Any

from andante.api.v1alpha1 import LLMService
from andante.app.reconcile.child_sync import ChildSync
from andante.app.settings import OperatorSettings
from andante.app.world import World, key_of
from andante.ports import NotFoundError


class Api:
    """An API server that takes what is applied as it is; a real one cannot be made to tell news at a chosen moment."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._objects: dict[Any, dict[str, Any]] = {}
        self._versions = itertools.count(1)
        self.applied: list[str] = []
        self.meanwhile: Callable[[], None] = lambda: None

    def read(self, *, kind: str, namespace: str, name: str) -> dict[str, Any]:
        if (kind, namespace, name) not in self._objects:
            raise NotFoundError(name)
        return self._objects[kind, namespace, name]

    def apply(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        self.applied.append(str(manifest["kind"]))
        answer = self._store(copy.deepcopy(dict(manifest)))
        self.meanwhile()
        return answer

    def edit(self, kind: str, change: Callable[[dict[str, Any]], Any]) -> None:
        """Somebody else's change, told to the world at once, as a watch does."""
        key = next(key for key in self._objects if key[0] == kind)
        obj = copy.deepcopy(self._objects[key])
        change(obj)
        self._world.put(self._store(obj))

    def delete(self, kind: str) -> None:
        """Somebody else's deletion, told at once."""
        self._world.drop(self._objects.pop(next(key for key in self._objects if key[0] == kind)))

    def _store(self, obj: dict[str, Any]) -> dict[str, Any]:
        obj["metadata"] |= {
            "uid": f"{obj['kind']}-{obj['metadata']['name']}",
            "resourceVersion": str(next(self._versions)),
        }
        self._objects[key_of(obj)] = obj
        return obj


class Clock:
    def now(self) -> float:
        return 0.0


def _without_owner(obj: dict[str, Any]) -> None:
    obj["metadata"].pop("ownerReferences")


def _another_image(obj: dict[str, Any]) -> None:
    obj["spec"]["template"]["spec"]["containers"][0]["image"] = "else:1"


def _synced() -> tuple[ChildSync, Api, LLMService]:
    world = World()
    api = Api(world)
    settings = OperatorSettings(engine_image="e:1", operator_image="o:1")
    sync = ChildSync(cluster=api, world=world, settings=settings, clock=Clock())
    service = LLMService.parse(
        {
            "apiVersion": "andante.dev/v1alpha1",
            "kind": "LLMService",
            "metadata": {"name": "chat", "namespace": "n", "uid": "u", "generation": 1},
            "spec": {"model": {"id": "org/model"}},
        }
    )
    for _ in range(2):  # to make them, and to see that they are as wanted
        sync.sync(service, replicas=1)
    api.applied.clear()
    return sync, api, service


def test_what_is_as_wanted_is_left_alone() -> None:
    sync, api, service = _synced()
    sync.sync(service, replicas=1)
    assert api.applied == []


def test_a_child_that_is_edited_while_another_is_put_right_is_put_right_too() -> None:
    sync, api, service = _synced()
    api.edit("Deployment", _another_image)
    # The service account has been looked at by then.
    api.meanwhile = lambda: api.edit("ServiceAccount", _without_owner)
    sync.sync(service, replicas=1)
    api.meanwhile = lambda: None
    sync.sync(service, replicas=1)
    assert api.applied == ["Deployment", "ServiceAccount"]


def test_a_child_that_goes_again_before_the_next_look_comes_back_again() -> None:
    sync, api, service = _synced()
    for _ in range(2):
        api.delete("ConfigMap")
        sync.sync(service, replicas=1)
    assert api.applied == ["ConfigMap", "ConfigMap"]
