"""Children are looked at again whenever one of them changed, whenever the news of that comes in."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from andante.api.v1alpha1 import LLMService
from andante.app.fleet import ServiceState
from andante.app.reconcile.child_plan import HASH_ANNOTATION
from andante.app.reconcile.child_sync import ChildSync, SyncResult
from andante.app.settings import OperatorSettings
from andante.app.world import World, key_of
from andante.ports import NotFoundError, RefusedError, UnavailableError


class Api:
    """An API server that takes what is applied as it is; a real one cannot be made to tell news at a chosen moment."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._objects: dict[Any, dict[str, Any]] = {}
        self._versions = itertools.count(1)
        self.applied: list[str] = []
        self.deleted: list[str] = []
        self.unanswered = 0
        self.fails: dict[str, Exception] = {}
        """By kind: what the API server has against it."""
        self.meanwhile: Callable[[], None] = lambda: None

    def read(self, *, kind: str, namespace: str, name: str) -> dict[str, Any]:
        if (kind, namespace, name) not in self._objects:
            raise NotFoundError(name)
        return self._objects[kind, namespace, name]

    def apply(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        if manifest["kind"] in self.fails:
            raise self.fails[manifest["kind"]]
        self.applied.append(str(manifest["kind"]))
        answer = self._store(copy.deepcopy(dict(manifest)))
        self.meanwhile()
        return answer

    def set_replicas(self, deployment: Mapping[str, Any], replicas: int) -> dict[str, Any]:
        obj = copy.deepcopy(self._objects[key_of(deployment)])
        obj["spec"]["replicas"] = replicas
        self.applied.append("replicas")
        return self._store(obj)

    def make(self, obj: dict[str, Any]) -> None:
        """Somebody else's object, which no watch of ours tells of."""
        obj["metadata"] |= {"uid": "foreign", "resourceVersion": str(next(self._versions))}
        self._objects[key_of(obj)] = obj

    def edit(self, kind: str, change: Callable[[dict[str, Any]], Any]) -> None:
        """Somebody else's change, told to the world at once, as a watch does."""
        key = next(key for key in self._objects if key[0] == kind)
        obj = copy.deepcopy(self._objects[key])
        change(obj)
        self._world.put(self._store(obj))

    def remove(self, kind: str) -> None:
        """Somebody else's deletion, told at once."""
        self._world.drop(self._objects.pop(next(key for key in self._objects if key[0] == kind)))

    def delete(self, *, kind: str, namespace: str, name: str, uid: str) -> None:
        """Our deletion, told at once."""
        assert self._objects[kind, namespace, name]["metadata"]["uid"] == uid
        self.deleted.append(kind)
        self._world.drop(self._objects.pop((kind, namespace, name)))

    def _store(self, obj: dict[str, Any]) -> dict[str, Any]:
        obj["metadata"] |= {
            "uid": f"{obj['kind']}-{obj['metadata']['name']}",
            "resourceVersion": str(next(self._versions)),
        }
        self._objects[key_of(obj)] = obj
        return obj


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds


def _without_owner(obj: dict[str, Any]) -> None:
    obj["metadata"].pop("ownerReferences")


def _another_image(obj: dict[str, Any]) -> None:
    obj["spec"]["template"]["spec"]["containers"][0]["image"] = "else:1"


class Sync:
    """ChildSync with the state of the one service."""

    def __init__(self, sync: ChildSync, world: World, clock: Clock) -> None:
        self._sync, self.world, self.clock = sync, world, clock
        self._state = ServiceState(uid="u", namespace="n", name="chat")

    def sync(self, service: LLMService, *, replicas: int) -> SyncResult:
        return self._sync.sync(service, self._state, replicas=replicas)


def _service(generation: int = 1, **engine: Any) -> LLMService:
    return LLMService.parse(
        {
            "apiVersion": "andante.dev/v1alpha1",
            "kind": "LLMService",
            "metadata": {"name": "chat", "namespace": "n", "uid": "u", "generation": generation},
            "spec": {"model": {"id": "org/model"}, "engine": engine},
        }
    )


def _new() -> tuple[Sync, Api, LLMService]:
    world = World()
    api = Api(world)
    return _of(api, world, operator_image="o:1"), api, _service()


def _of(api: Api, world: World, *, operator_image: str) -> Sync:
    settings = OperatorSettings(engine_image="e:1", operator_image=operator_image)
    clock = Clock()
    return Sync(ChildSync(cluster=api, world=world, settings=settings, clock=clock), world, clock)


def _synced() -> tuple[Sync, Api, LLMService]:
    sync, api, service = _new()
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
        api.remove("ConfigMap")
        sync.sync(service, replicas=1)
    assert api.applied == ["ConfigMap", "ConfigMap"]


ALL = {"ServiceAccount", "ConfigMap", "Service", "PodDisruptionBudget", "Deployment"}


@pytest.mark.parametrize(
    ("error", "reason"),
    [(RefusedError("denied by policy"), "ChildRefused"), (UnavailableError("HTTP 500: webhook"), "ChildUnavailable")],
)
def test_a_child_that_cannot_be_had_costs_no_other(error: Exception, reason: str) -> None:
    sync, api, service = _new()
    api.fails["PodDisruptionBudget"] = error
    (problem,) = sync.sync(service, replicas=1).problems
    assert (problem.reason, "PodDisruptionBudget 'chat'" in problem.message) == (reason, True)
    assert set(api.applied) == ALL - {"PodDisruptionBudget"}


def test_an_api_server_that_is_away_is_not_asked_for_every_child() -> None:
    sync, api, service = _new()

    def silent(manifest: Mapping[str, Any]) -> Any:
        api.unanswered += 1
        raise UnavailableError("timed out")

    api.apply = silent  # type: ignore[method-assign]
    with pytest.raises(UnavailableError):
        sync.sync(service, replicas=1)
    assert api.unanswered == 1


def test_no_pod_starts_as_somebody_elses_service_account() -> None:
    sync, api, service = _new()
    api.make({"kind": "ServiceAccount", "metadata": {"namespace": "n", "name": "chat"}})
    (problem,) = sync.sync(service, replicas=1).problems
    assert problem.reason == "NameTaken"
    assert set(api.applied) == ALL - {"ServiceAccount", "Deployment"}


def test_scaling_goes_on_with_a_pod_template_that_is_refused() -> None:
    sync, api, _ = _synced()
    refused = _service(2, podTemplate={"spec": {"containers": [{"name": "engine", "command": ["sh"]}]}})
    result = sync.sync(refused, replicas=3)
    assert result.spec_problem is not None
    assert api.applied == ["replicas"]
    sync.sync(refused, replicas=3)
    assert api.applied == ["replicas"]


def _upgraded(api: Api, sync: Sync) -> Sync:
    """The same service under a new operator, which wants other pods; the old ones serve, and it is not their turn."""
    api.edit("Deployment", lambda obj: obj.update(status={"replicas": 1, "readyReplicas": 1}))
    return _of(api, sync.world, operator_image="o:2")


def _edited(obj: dict[str, Any]) -> None:
    obj["data"] = {"engine.yaml": "edited"}


def test_a_service_that_waits_for_its_turn_has_its_settings_put_right() -> None:
    before, api, service = _synced()
    sync = _upgraded(api, before)
    assert sync.sync(service, replicas=1).waits is not None
    api.applied.clear()
    api.edit("ConfigMap", _edited)
    assert sync.sync(service, replicas=1).waits is not None
    assert api.applied == ["ConfigMap"]


def test_a_service_that_waits_keeps_the_settings_that_its_pods_understand() -> None:
    before, api, service = _synced()
    sync = _upgraded(api, before)

    def of_an_older_operator(obj: dict[str, Any]) -> None:
        _edited(obj)
        obj["metadata"]["annotations"] = {**obj["metadata"]["annotations"], HASH_ANNOTATION: "another"}

    api.edit("ConfigMap", of_an_older_operator)
    api.applied.clear()
    assert sync.sync(service, replicas=1).waits is not None
    assert api.applied == []


def _owned_by(*owners: dict[str, str]) -> Callable[[dict[str, Any]], None]:
    def change(obj: dict[str, Any]) -> None:
        obj["metadata"]["ownerReferences"] = list(owners)

    return change


NAMESAKE = {"apiVersion": "andante.dev/v1alpha1", "kind": "LLMService", "name": "chat", "uid": "gone"}


def _reasons(result: SyncResult) -> set[str]:
    return {problem.reason for problem in result.problems}


def test_the_garbage_collector_has_its_time_for_a_deleted_namesake() -> None:
    sync, api, service = _synced()
    api.edit("Deployment", _owned_by(NAMESAKE))
    for sync.clock.seconds in (0.0, 59.0):
        assert _reasons(sync.sync(service, replicas=1)) == {"WaitingForCleanup"}
    assert api.deleted == []


def test_what_the_garbage_collector_forgot_is_removed_and_made_again() -> None:
    sync, api, service = _synced()
    api.edit("Deployment", _owned_by(NAMESAKE))
    for sync.clock.seconds in (0.0, 60.0, 61.0):
        result = sync.sync(service, replicas=1)
    assert (api.deleted, api.applied, _reasons(result)) == (["Deployment"], ["Deployment"], set())


@pytest.mark.parametrize(
    "other",
    [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "chat", "uid": "there"},
        {**NAMESAKE, "apiVersion": "example.com/v1"},
        {**NAMESAKE, "name": "another"},
    ],
    ids=["another kind", "another group", "another name"],
)
def test_what_may_have_another_owner_is_left_alone(other: dict[str, str]) -> None:
    sync, api, service = _synced()
    api.edit("Deployment", _owned_by(NAMESAKE, other))
    for sync.clock.seconds in (0.0, 60.0, 600.0):
        sync.sync(service, replicas=1)
    assert api.deleted == []


def test_a_namesake_of_later_has_its_own_time() -> None:
    sync, api, service = _synced()
    api.edit("Deployment", _owned_by(NAMESAKE))
    sync.sync(service, replicas=1)
    api.remove("Deployment")
    for sync.clock.seconds in (100.0, 101.0):
        sync.sync(service, replicas=1)
    api.edit("Deployment", _owned_by(NAMESAKE))
    for sync.clock.seconds in (200.0, 259.0):
        sync.sync(service, replicas=1)
    assert api.deleted == []


def test_a_time_in_which_the_children_were_not_looked_at_is_not_the_garbage_collectors() -> None:
    sync, api, service = _synced()
    api.edit("Deployment", _owned_by(NAMESAKE))
    sync.sync(service, replicas=1)
    sync.clock.seconds = 30.0
    broken = _service(podTemplate={"spec": {"containers": [{"name": "engine", "command": ["sh"]}]}})
    assert sync.sync(broken, replicas=1).spec_problem is not None
    sync.clock.seconds = 70.0
    sync.sync(service, replicas=1)
    assert api.deleted == []
