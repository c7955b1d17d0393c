"""A tick over many services: what is wrong with one costs that one's decision only."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from andante.app.fleet import Fleet
from andante.app.scaling.tick import ScalingTick
from andante.app.world import World
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
