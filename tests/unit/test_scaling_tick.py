"""A tick over many services: what is wrong with one costs that one's decision only."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from andante.app.fleet import Fleet
from andante.app.scaling import judge
from andante.app.scaling.pod_history import COUNTERS
from andante.app.scaling.tick import ScalingTick
from andante.app.world import World
from andante.domain.deficit_cause import Cause
from andante.domain.scaling.decide import Decision
from andante.domain.scaling.engine_capacity import EngineCapacity
from andante.domain.scaling.figures import Missing, value_of
from andante.domain.scaling.memory import Memory
from andante.domain.scaling.snapshot import Snapshot
from andante.domain.step_time import DEFAULT_STEP_TIME
from andante.ports import PodAddress, PodSample, Unread


class Clock:
    def now(self) -> float:
        return 1_800_000_000.0

    def monotonic(self) -> float:
        return 0.0


class NoMetrics:
    """Every pod is unreadable."""

    async def read(self, pods: Sequence[PodAddress]) -> Mapping[tuple[str, str], PodSample | Unread]:
        return {(pod.namespace, pod.name): Unread(why="refused") for pod in pods}


def _service(name: str, version: str) -> dict[str, Any]:
    return {
        "apiVersion": "andante.dev/v1alpha1",
        "kind": "LLMService",
        "metadata": {"name": name, "namespace": "team", "uid": f"uid-{name}", "resourceVersion": version},
        "spec": {"model": {"id": "org/model"}},
    }


def _starting_pod(service: str, version: str, created: str) -> dict[str, Any]:
    metadata = {
        "name": f"{service}-0", "namespace": "team", "uid": f"pod-{service}", "resourceVersion": version,
        "labels": {"andante.dev/llmservice": service, "pod-template-hash": "5f"}, "creationTimestamp": created,
        "ownerReferences": [{"kind": "ReplicaSet", "name": f"{service}-5f", "controller": True}],
    }  # fmt: skip
    return {"kind": "Pod", "metadata": metadata, "spec": {"containers": []}, "status": {"phase": "Pending"}}


def _ticking(*, broken_since: str = "2") -> tuple[ScalingTick, Fleet, list[str]]:
    world, faults = World(), list[str]()
    for name in ("bad", "good"):
        world.put(_service(name, "1"))
    world.put(_starting_pod("bad", broken_since, "not a time"))
    world.put(_starting_pod("good", "3", "2026-01-01T00:00:00Z"))
    fleet = Fleet(world)
    tick = ScalingTick(fleet=fleet, metrics=NoMetrics(), clock=Clock(), tick_seconds=15, on_fault=faults.append)
    return tick, fleet, faults


def _state(fleet: Fleet, name: str) -> Any:
    found = fleet.find("team", name)
    assert found is not None
    return found[1]


def test_a_pod_that_cannot_be_worked_with_costs_its_service_alone() -> None:
    tick, fleet, faults = _ticking()
    changed = asyncio.run(tick.tick())
    assert _state(fleet, "good").decision is not None
    assert _state(fleet, "bad").decision is None
    assert faults == ["tick"]
    assert sorted(changed) == [("team", "bad"), ("team", "good")]
    assert tick.services == 1


def test_a_fault_is_named_in_the_state_and_goes_with_its_cause() -> None:
    tick, fleet, _ = _ticking()
    asyncio.run(tick.tick())
    assert "not a time" in _state(fleet, "bad").faults["tick"]
    assert asyncio.run(tick.tick()) == []  # nothing new to tell
    fleet.world.put(_starting_pod("bad", "9", "2026-01-01T00:00:00Z"))
    assert asyncio.run(tick.tick()) == [("team", "bad")]
    assert _state(fleet, "bad").faults == {}


class OpenRequests:
    """Every pod is read, and holds as many requests as its name says."""

    def __init__(self) -> None:
        self.asked: list[PodAddress] = []

    async def read(self, pods: Sequence[PodAddress]) -> Mapping[tuple[str, str], PodSample | Unread]:
        self.asked = list(pods)
        return {
            (pod.namespace, pod.name): PodSample(
                at=Clock().now(),
                counters=dict.fromkeys(COUNTERS, 0.0),
                open_requests=float(pod.name.rsplit("-", 1)[1]),
                open_qoe_sum=0.0,
                open_deficit=dict.fromkeys((cause.value for cause in Cause), 0.0),
            )
            for pod in pods
        }


def _pod(requests: int, version: str, *, ready: bool = True, started: bool = True, **metadata: str) -> dict[str, Any]:
    pod = _starting_pod("good", version, "2026-01-01T00:00:00Z")
    name = f"good-{requests}"
    return {
        **pod,
        "metadata": {**pod["metadata"], "name": name, "uid": name, **metadata},
        "spec": {"containers": [{"name": "engine"}]},
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.1",
            "conditions": [{"type": "Ready", "status": str(ready)}],
            "containerStatuses": [{"name": "engine", "started": started}],
        },
    }


def _reading() -> tuple[ScalingTick, Fleet, OpenRequests, list[float]]:
    world, metrics, gone = World(), OpenRequests(), list[float]()
    world.put(_service("good", "1"))
    tick = ScalingTick(
        fleet=Fleet(world), metrics=metrics, clock=Clock(), tick_seconds=15, on_gone=gone.append,
    )  # fmt: skip
    return tick, tick._fleet, metrics, gone


def test_pods_that_have_served_are_read_and_those_that_load_are_not() -> None:
    tick, fleet, metrics, _ = _reading()
    fleet.world.put(_pod(1, "2"))
    fleet.world.put(_pod(2, "3", ready=False))
    fleet.world.put(_pod(3, "4", ready=False, started=False))
    fleet.world.put(_pod(4, "5", deletionTimestamp="2026-01-01T01:00:00Z"))
    asyncio.run(tick.tick())
    assert [(pod.name, pod.ready) for pod in metrics.asked] == [("good-1", True), ("good-2", False), ("good-4", False)]


def test_requests_that_were_open_on_an_engine_that_went_are_counted_once() -> None:
    tick, fleet, _, gone = _reading()
    fleet.world.put(_pod(1, "2"))
    fleet.world.put(_pod(7, "3", deletionTimestamp="2026-01-01T01:00:00Z"))
    asyncio.run(tick.tick())
    assert gone == []
    fleet.world.drop(_pod(7, "4"))
    asyncio.run(tick.tick())
    asyncio.run(tick.tick())
    assert gone == [7.0]


def test_an_engine_that_starts_anew_in_its_pod_has_lost_its_requests() -> None:
    tick, fleet, _, gone = _reading()
    fleet.world.put(_pod(5, "2"))
    asyncio.run(tick.tick())
    fleet.world.put(_pod(5, "3", ready=False, started=False))
    asyncio.run(tick.tick())
    assert gone == [5.0]


def test_of_a_service_that_was_deleted_no_request_is_counted() -> None:
    tick, fleet, _, gone = _reading()
    fleet.world.put(_pod(5, "2"))
    asyncio.run(tick.tick())
    fleet.world.drop(_service("good", "9"))
    asyncio.run(tick.tick())
    assert gone == []


class SetClock:
    """A wall clock that is set now and then, and a monotonic one."""

    def __init__(self) -> None:
        self.time, self.ahead = 0.0, 1_800_000_000.0

    def now(self) -> float:
        return self.time + self.ahead

    def monotonic(self) -> float:
        return self.time


class Engines:
    """Every pod counts what its service's requests lack, from the moment at which it is asked."""

    def __init__(self, clock: SetClock) -> None:
        self._clock = clock
        self.open_requests, self.deficit = 0.0, 0.0
        self.arrived: tuple[float, float] | None = None
        self.capacity: EngineCapacity | None = None

    async def read(self, pods: Sequence[PodAddress]) -> Mapping[tuple[str, str], PodSample | Unread]:
        sample = PodSample(
            at=self._clock.now(),
            counters=dict.fromkeys(COUNTERS, 0.0),
            open_requests=self.open_requests,
            open_qoe_sum=self.open_requests * (0.95 - self.deficit),
            open_deficit={**dict.fromkeys(Cause, 0.0), Cause.LOAD: self.open_requests * self.deficit},
            arrived=self.arrived,
            waiting=(1.0, 200.0),
            capacity=self.capacity,
        )
        return {(pod.namespace, pod.name): sample for pod in pods}


def _ready_pod(name: str, version: str) -> dict[str, Any]:
    pod = _starting_pod("chat", version, "2026-01-01T00:00:00Z")
    pod["metadata"] |= {"name": name, "uid": name}
    status = {"phase": "Running", "podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]}
    return {**pod, "status": status}


def _two_replicas(clock: SetClock) -> tuple[ScalingTick, Fleet, Engines]:
    """A service that may have one to four, and gives none back before five minutes are over."""
    world, engines = World(), Engines(clock)
    service = _service("chat", "1")
    service["spec"]["scaling"] = {"minReplicas": 1, "maxReplicas": 4}
    world.put(service)
    metadata = {"name": "chat", "namespace": "team", "uid": "d", "resourceVersion": "2"}
    metadata["labels"] = {"andante.dev/llmservice": "chat"}  # type: ignore[assignment]
    metadata["ownerReferences"] = [{"kind": "LLMService", "name": "chat", "uid": "uid-chat"}]  # type: ignore[assignment]
    world.put({"kind": "Deployment", "apiVersion": "apps/v1", "metadata": metadata, "spec": {"replicas": 2}})
    for name, version in (("chat-0", "3"), ("chat-1", "4")):
        world.put(_ready_pod(name, version))
    fleet = Fleet(world)
    tick = ScalingTick(fleet=fleet, metrics=engines, clock=clock, tick_seconds=15)
    return tick, fleet, engines


def _wanted_after(tick: ScalingTick, fleet: Fleet, clock: SetClock, *, ticks: int) -> list[int]:
    wanted = []
    for _ in range(ticks):
        clock.time += 15
        asyncio.run(tick.tick())
        wanted.append(_state(fleet, "chat").decision.decision.wanted)
    return wanted


@pytest.mark.parametrize("jump", [90, 3_600, 86_400])
def test_a_clock_that_is_set_forward_takes_no_replica_away(jump: float) -> None:
    clock = SetClock()
    tick, fleet, _ = _two_replicas(clock)
    _wanted_after(tick, fleet, clock, ticks=4)
    clock.ahead += jump
    assert _wanted_after(tick, fleet, clock, ticks=4) == [2, 2, 2, 2]


@pytest.mark.parametrize("jump", [-86_400, -3_600, -90, -20, 20, 90, 3_600])
def test_a_clock_that_is_set_costs_two_ticks(jump: float) -> None:
    clock = SetClock()
    tick, fleet, engines = _two_replicas(clock)
    _wanted_after(tick, fleet, clock, ticks=4)
    clock.ahead += jump
    engines.open_requests, engines.deficit = 30.0, 0.4
    assert _wanted_after(tick, fleet, clock, ticks=3)[-1] == 4


class OneCause:
    """Every pod is unreadable, for the cause that a test sets."""

    def __init__(self) -> None:
        self.why = "refused"

    async def read(self, pods: Sequence[PodAddress]) -> Mapping[tuple[str, str], PodSample | Unread]:
        return {(pod.namespace, pod.name): Unread(why=self.why) for pod in pods}


def test_a_cause_that_changed_soon_after_a_status_is_told_later() -> None:
    clock = SetClock()
    _, fleet, _ = _two_replicas(clock)
    metrics = OneCause()
    tick = ScalingTick(fleet=fleet, metrics=metrics, clock=clock, tick_seconds=15)
    assert asyncio.run(tick.tick())
    _state(fleet, "chat").status_written = clock.monotonic()
    metrics.why = "HTTP 401"
    told = []
    for _ in range(6):
        clock.time += 15
        told.append(bool(asyncio.run(tick.tick())))
    assert told == [False, False, False, True, False, False]


def _decided_on(monkeypatch: pytest.MonkeyPatch, *arrived: tuple[float, float] | None) -> Snapshot:
    """What the law gets after a tick for each count of arrivals, of each of two pods."""
    clock, seen = SetClock(), list[Snapshot]()
    decide = judge.decide

    def noted(snapshot: Snapshot, memory: Memory, now: float) -> tuple[Decision, Memory]:
        seen.append(snapshot)
        return decide(snapshot, memory, now)

    monkeypatch.setattr(judge, "decide", noted)
    tick, _, engines = _two_replicas(clock)
    engines.capacity = EngineCapacity(
        kv_tokens=400_000, max_num_seqs=256, max_step_tokens=8192, step_time=DEFAULT_STEP_TIME, fitted=False
    )
    for engines.arrived in arrived:
        clock.time += 15
        asyncio.run(tick.tick())
    return seen[-1]


def test_the_law_gets_the_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = _decided_on(monkeypatch, (0.0, 0.0), (30.0, 6000.0))
    demand = snapshot.demand
    assert (value_of(demand.arrivals), demand.window) == (4.0, 15.0)
    assert (value_of(demand.prompt_tokens), value_of(demand.generated_tokens)) == (200.0, 0.0)
    waits = 400 * DEFAULT_STEP_TIME.prefill_token
    assert (value_of(demand.waiting_requests), value_of(demand.waiting_work)) == (2.0, pytest.approx(waits))
    assert isinstance(demand.engine, EngineCapacity)
    assert (demand.engine.kv_tokens, demand.engine.fitted) == (400_000, False)


def test_the_law_gets_no_zero_where_engines_do_not_tell_their_arrivals(monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = _decided_on(monkeypatch, None, None)
    assert isinstance(snapshot.demand.arrivals, Missing)
    assert snapshot.blind is None
