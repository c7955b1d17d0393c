"""When an upgrade alters the pods of all services, each waits for its turn, and is scaled meanwhile."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping
from typing import Any

import pytest

from andante.api.v1alpha1 import LLMService
from andante.app.fleet import Fleet, ServiceState
from andante.app.reconcile.child_sync import ChildSync, SyncResult
from andante.app.rollout.progress import NO_PROGRESS_SECONDS, is_rolling
from andante.app.rollout.turns import GRANT_SECONDS, RolloutTurns
from andante.app.settings import OperatorSettings
from andante.app.world import World, key_of
from andante.domain.rollout_budget import RolloutBudget
from andante.ports import NotFoundError, RefusedError

OLD = OperatorSettings(engine_image="e:1", operator_image="o:1")
NEW = OLD.model_copy(update={"operator_image": "o:2", "rollout_budget": "1"})
DAY = "2026-01-01T00:00:00Z"
SETTLED = {
    "observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1,
    "conditions": [{"type": "Progressing", "reason": "NewReplicaSetAvailable", "lastUpdateTime": DAY}],
}  # fmt: skip


class Clock:
    time = 1_800_000_000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


class Cluster:
    """An API server with Deployments whose controller does nothing until a test lets it."""

    unanswered = 0

    def __init__(self) -> None:
        self.world = World()
        self.objects: dict[Any, dict[str, Any]] = {}
        self.refuses = False
        self._versions = itertools.count(1)

    def read(self, *, kind: str, namespace: str, name: str) -> dict[str, Any]:
        try:
            return self.objects[kind, namespace, name]
        except KeyError:
            raise NotFoundError(name) from None

    def apply(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        if self.refuses and manifest["kind"] == "Deployment":
            raise RefusedError("a webhook says no")
        before = self.objects.get(key_of(manifest), {})
        return self._store({**copy.deepcopy(dict(manifest)), **({"status": before["status"]} if before else {})})

    def set_replicas(self, deployment: Mapping[str, Any], replicas: int) -> dict[str, Any]:
        obj = copy.deepcopy(self.objects[key_of(deployment)])
        obj["spec"]["replicas"] = replicas
        return self._store(obj)

    def settle(self, name: str, **status: Any) -> None:
        """What the Deployment's controller says once it has seen all."""
        obj = copy.deepcopy(self.objects["Deployment", "n", name])
        generation = obj["metadata"]["generation"]
        self.world.put(
            self._store({**obj, "status": {**SETTLED, "observedGeneration": generation, **status}}, news=False)
        )

    def _store(self, obj: dict[str, Any], *, news: bool = True) -> dict[str, Any]:
        before = self.objects.get(key_of(obj))
        generation = (before["metadata"]["generation"] if before else 0) + news
        uid = f"{obj['kind']}-{obj['metadata']['name']}"
        obj["metadata"] = {
            **obj["metadata"], "uid": uid, "generation": generation, "resourceVersion": str(next(self._versions)),
        }  # fmt: skip
        obj.setdefault("status", {})
        self.objects[key_of(obj)] = obj
        return obj

    def image(self, name: str) -> str:
        """The operator's image in the Deployment's pods."""
        template = self.objects["Deployment", "n", name]["spec"]["template"]
        return str(template["spec"]["initContainers"][0]["image"])


class Site:
    """Services that an operator with `settings` serves."""

    def __init__(self, *names: str, cluster: Cluster | None = None, settings: OperatorSettings = OLD) -> None:
        self.cluster, self.clock, self.names = cluster or Cluster(), Clock(), names
        self.world = self.cluster.world
        if cluster is None:
            for name in names:
                self.write(name)
        self.start(settings)

    def start(self, settings: OperatorSettings) -> None:
        """An operator that knows nothing but the objects."""
        self.fleet = Fleet(self.world)
        self.children = ChildSync(cluster=self.cluster, world=self.world, settings=settings, clock=self.clock)  # type: ignore[arg-type]
        budget = RolloutBudget.parse(settings.rollout_budget)
        self.turns = RolloutTurns(fleet=self.fleet, budget=budget, clock=self.clock)

    def write(self, name: str, *, generation: int = 1, observed: int | None = None, **spec: Any) -> None:
        self.world.put(
            {
                "apiVersion": "andante.dev/v1alpha1",
                "kind": "LLMService",
                "metadata": {
                    "name": name, "namespace": "n", "uid": f"u-{name}", "generation": generation,
                    "resourceVersion": str(10_000 + next(self.cluster._versions)),
                },
                "spec": {"model": {"id": "org/model"}, **spec},
                "status": {"observedGeneration": generation if observed is None else observed},
            }
        )  # fmt: skip

    def state(self, name: str) -> ServiceState:
        found = self.fleet.find("n", name)
        assert found is not None
        return found[1]

    def sync(self, name: str, *, replicas: int = 1) -> SyncResult:
        found = self.fleet.find("n", name)
        assert found is not None
        obj, state = found
        service: LLMService = state.service(obj)
        return self.children.sync(service, state, replicas=replicas)

    def sync_all(self) -> list[str]:
        """The services that wait."""
        waiting = []
        for name in self.names:
            self.clock.time += 1
            if self.sync(name).waits:
                waiting.append(name)
        return waiting


def _upgraded(*names: str) -> Site:
    """All serve, and then comes an operator whose pods are others."""
    site = Site(*names)
    site.sync_all()
    for name in names:
        site.cluster.settle(name)
    site.start(NEW)
    return site


def test_after_an_upgrade_one_after_the_other_rolls_and_all_in_the_end() -> None:
    site = _upgraded("a", "b", "c")
    assert site.sync_all() == ["a", "b", "c"]
    rolled = []
    for _ in range(3):
        (key,) = site.turns.round().begin
        name = key[1]
        site.sync_all()
        assert site.cluster.image(name) == "o:2"
        rolled.append(name)
        assert sum(site.cluster.image(n) == "o:2" for n in site.names) == len(rolled)
        assert site.turns.round().begin == ()  # its controller has still to replace the pods
        site.cluster.settle(name)
    assert rolled == ["a", "b", "c"]
    assert site.sync_all() == []
    done = site.turns.round()
    assert (done.begin, done.rolling, done.waiting) == ((), 0, 0)


def test_who_waits_keeps_what_its_pods_read_and_is_scaled() -> None:
    site = _upgraded("a")
    before = copy.deepcopy(site.cluster.objects)
    site.sync("a", replicas=4)
    deployment = site.cluster.objects["Deployment", "n", "a"]
    assert deployment["spec"]["replicas"] == 4
    assert deployment["spec"]["template"] == before["Deployment", "n", "a"]["spec"]["template"]
    assert site.cluster.objects["ConfigMap", "n", "a-engine"] == before["ConfigMap", "n", "a-engine"]


def test_what_a_pod_cannot_start_without_is_made_again_meanwhile() -> None:
    site = _upgraded("a")
    site.world.drop(site.cluster.objects.pop(("ConfigMap", "n", "a-engine")))
    assert site.sync("a").waits
    assert ("ConfigMap", "n", "a-engine") in site.cluster.objects


def test_a_change_of_the_author_does_not_wait_and_counts() -> None:
    site = _upgraded("a", "b")
    assert site.sync_all() == ["a", "b"]
    site.write("b", generation=2, observed=1, engine={"env": [{"name": "A", "value": "1"}]})
    assert site.sync("b").waits is None
    assert site.cluster.image("b") == "o:2"
    assert site.turns.round().begin == ()


@pytest.mark.parametrize(
    "spec", [{"scaling": {"minReplicas": 2}}, {"replicas": 3}, {"monitoring": {"podMonitor": False}}]
)
def test_a_change_that_no_engine_reads_is_no_way_around_the_queue(spec: dict[str, Any]) -> None:
    site = _upgraded("a")
    site.write("a", generation=2, observed=1, **spec)
    assert site.sync("a").waits


def test_a_newer_reading_of_the_same_spec_is_not_the_authors_change() -> None:
    site = _upgraded("a")
    site.write("a", engine={"env": [{"name": "A", "value": "a default that a newer CRD fills in"}]})
    assert site.sync("a").waits


def test_a_service_that_never_served_does_not_wait() -> None:
    site = _upgraded("a")
    starting = [{"type": "Progressing", "reason": "ReplicaSetUpdated", "lastUpdateTime": DAY}]
    site.cluster.settle("a", readyReplicas=0, conditions=starting)
    assert site.sync("a").waits is None
    assert site.cluster.image("a") == "o:2"


def test_a_moment_without_a_ready_pod_is_no_turn() -> None:
    site = _upgraded("a")
    site.cluster.settle("a", readyReplicas=0)
    assert site.sync("a").waits


def test_a_new_operator_lets_who_has_waited_longest_begin() -> None:
    site = _upgraded("a", "b")
    site.sync_all()
    waiting = {"type": "RolledOut", "status": "False", "reason": "RolloutWaiting", "message": ""}
    for name, since in (("a", "2026-03-02T00:00:00Z"), ("b", "2026-03-01T00:00:00Z")):
        service = dict(site.world.get("LLMService", "n", name) or {})
        service["metadata"] = {**service["metadata"], "resourceVersion": str(20_000 + ord(name))}
        service["status"] = {**service["status"], "conditions": [{**waiting, "lastTransitionTime": since}]}
        site.world.put(service)
    site.start(NEW)
    site.sync_all()
    assert site.turns.round().begin == (("n", "b"),)


def test_a_deployment_that_is_refused_does_not_keep_its_turn() -> None:
    site = _upgraded("a", "b")
    site.sync_all()
    assert site.turns.round().begin == (("n", "a"),)
    site.cluster.refuses = True
    site.sync("a")
    assert site.turns.round().begin == ()
    site.clock.time += GRANT_SECONDS + 1
    assert site.turns.round().begin == (("n", "b"),)


def test_a_deployment_of_an_operator_that_made_no_marks_is_compared_by_its_pods() -> None:
    site = _upgraded("a", "b")
    for name in "ab":
        deployment = copy.deepcopy(site.cluster.objects["Deployment", "n", name])
        for mark in ("template-hash", "engine-spec-hash"):
            del deployment["metadata"]["annotations"][f"andante.dev/{mark}"]
        site.world.put(site.cluster._store(deployment, news=False))
    assert site.sync("a").waits
    site.start(OLD)
    assert site.sync("b").waits is None


def _deployment(*, generation: int = 2, revision: str = "2", **status: Any) -> dict[str, Any]:
    metadata = {"generation": generation, "annotations": {"deployment.kubernetes.io/revision": revision}}
    return {"metadata": metadata, "status": {**SETTLED, "observedGeneration": 2, **status}}


def _progressing(reason: str, at: str = "2026-01-01T01:00:00+00:00") -> list[dict[str, str]]:
    return [{"type": "Progressing", "reason": reason, "lastUpdateTime": at}]


NOW = 1_767_229_500.0  # five minutes after the progress above, 2026-01-01T01:05:00Z


@pytest.mark.parametrize(
    ("deployment", "rolling"),
    [
        (_deployment(), False),
        (_deployment(generation=3), True),
        (_deployment(replicas=3, updatedReplicas=1, conditions=_progressing("ReplicaSetUpdated")), True),
        (_deployment(conditions=_progressing("ReplicaSetUpdated")), True),
        (_deployment(revision="1", conditions=_progressing("ReplicaSetUpdated")), False),
        (_deployment(replicas=5, updatedReplicas=5, readyReplicas=1), False),
        (_deployment(replicas=2, updatedReplicas=1, conditions=_progressing("ProgressDeadlineExceeded")), False),
        (_deployment(replicas=2, updatedReplicas=1, conditions=_progressing("ReplicaSetUpdated", DAY)), False),
        (_deployment(replicas=2, updatedReplicas=1, conditions=[]), True),
        (_deployment(replicas=2, updatedReplicas=1, conditions=_progressing("ReplicaSetUpdated", "soon")), True),
    ],
    ids=["settled", "not seen yet", "old pods there", "new pods start", "a first one", "scaled up", "stuck by deadline",
         "no progress for an hour", "nothing said", "no time"],
)  # fmt: skip
def test_a_rollout_counts_while_it_gets_on(deployment: dict[str, Any], rolling: bool) -> None:
    assert NO_PROGRESS_SECONDS == 3600
    assert is_rolling(deployment, now=NOW) is rolling
