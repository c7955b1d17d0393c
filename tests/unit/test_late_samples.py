"""A scaler whose samples come late does not buy twice for one deficit."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from andante.app.fleet import Fleet
from andante.app.scaling.pod_history import COUNTERS, DEFICIT, VISIBLE_TOKENS
from andante.app.scaling.tick import ScalingTick
from andante.app.world import World
from andante.domain import metric_names
from andante.domain.deficit_cause import Cause
from andante.ports import PodAddress, PodSample, Unread
from unit.scaled_service import TICK, LoadClock, put_deployment, put_pod, put_service

LATENESSES = [(15.0, 0.0), (15.0, 30.0), (60.0, 0.0), (60.0, 30.0)]
"""Seconds between two scrapes, and how far the store is behind."""
ENOUGH = 3
WARM_UP, BUSY = 45.0, 900.0
PER_SECOND, LACKED, OPEN = 2.0, 0.3, 10.0


class Load:
    """Each request lacks QoE while there are fewer than ENOUGH ready replicas; each pod is scraped by a store."""

    def __init__(self, clock: LoadClock, *, every: float, behind: float) -> None:
        self._clock, self._every, self._behind = clock, every, behind
        self.ready_at: dict[str, float] = {}

    @property
    def enough_at(self) -> float:
        """When there were enough replicas."""
        ready = sorted(self.ready_at.values())
        return ready[ENOUGH - 1] if len(ready) >= ENOUGH else float("inf")

    async def read(self, pods: Sequence[PodAddress]) -> Mapping[tuple[str, str], PodSample | Unread]:
        """The newest scrape that the store shows."""
        seen = self._clock.time - self._behind
        return {(pod.namespace, pod.name): self._scrape(pod.name, seen - seen % self._every) for pod in pods}

    def _scrape(self, pod: str, at: float) -> PodSample | Unread:
        since = self.ready_at[pod]
        if at < since:
            return Unread(why="not scraped yet")
        requests = float(int(PER_SECOND * (at - since)))
        lacking = float(int(PER_SECOND * max(0.0, min(at, self.enough_at) - since)))
        counted = {metric_names.REQUESTS: requests, metric_names.SCORED_REQUESTS: requests}
        counted |= {metric_names.ENDED_QOE: requests - LACKED * lacking, DEFICIT[Cause.LOAD]: LACKED * lacking}
        lack_now = LACKED * OPEN if at < self.enough_at else 0.0
        return PodSample(
            at=self._clock.began + at,
            counters={**dict.fromkeys(COUNTERS, 0.0), VISIBLE_TOKENS: 100.0 * requests, **counted},
            open_requests=OPEN,
            open_qoe_sum=OPEN - lack_now,
            open_deficit={**dict.fromkeys(Cause, 0.0), Cause.LOAD: lack_now},
        )


def _most_wanted(*, every: float, behind: float) -> int:
    """The most replicas that the scaler wants, where each that it wants is ready a little later."""
    world, clock = World(), LoadClock(1_800_000_000.0)
    load = Load(clock, every=every, behind=behind)
    fleet = Fleet(world)
    tick = ScalingTick(fleet=fleet, metrics=load, clock=clock, tick_seconds=TICK, behind_seconds=behind)
    put_service(world, namespace="team", max_replicas=8)
    spec, asked_at, most = 2, {0: -WARM_UP, 1: -WARM_UP}, 0
    while clock.time < BUSY:
        put_deployment(world, namespace="team", replicas=spec)
        for number, at in asked_at.items():
            name = f"chat-{number}"
            if clock.time - at >= WARM_UP and name not in load.ready_at:
                load.ready_at[name] = clock.time
                put_pod(world, name, namespace="team")
        clock.time += TICK
        asyncio.run(tick.tick())
        found = fleet.find("team", "chat")
        assert found is not None
        assert found[1].decision is not None
        wanted = found[1].decision.decision.wanted
        most = max(most, wanted)
        for number in range(spec, wanted):
            asked_at[number] = clock.time
        spec = max(spec, wanted)
    return most


@pytest.mark.parametrize(("every", "behind"), LATENESSES)
def test_a_deficit_of_before_a_replica_was_ready_buys_no_further_one(every: float, behind: float) -> None:
    assert _most_wanted(every=every, behind=behind) == ENOUGH
