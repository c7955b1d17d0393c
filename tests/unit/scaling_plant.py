"""A fleet around `decide()`: replicas that serve a fluid queue, start, hang and keep connections, in 15 s ticks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from andante.domain.scaling.capacity import Lengths, requests_per_second
from andante.domain.scaling.decide import Decision, decide
from andante.domain.scaling.figures import Missing, NoTraffic
from andante.domain.scaling.memory import VERSION, Memory
from unit.scaling_snapshots import ENGINE, NOW, snapshot

TICK = 15.0
PACE = 4.8
PER_REPLICA = requests_per_second(ENGINE, Lengths(prompt=1000, answer=200, rate=1), pace=PACE)
"""Requests/s that a replica of the plant serves."""
SERVICE_SECONDS = 200 / PACE
READING_SECONDS = 201 / (2 * PACE)


@dataclass(slots=True)
class Pod:
    """One replica."""

    created: float
    ready_at: float
    hung: bool = False
    connected: bool = True
    """Whether any client uses it."""
    stuck: float = 0.0
    """Requests that a hung engine holds."""


@dataclass(slots=True)
class Plant:
    """One service. Times are seconds since the begin."""

    arrivals: Callable[[float], float]
    """Requests/s."""
    replicas: int = 1
    warmup: float = 100.0
    starts: bool = True
    """Whether new replicas ever become ready."""
    spreads: bool = True
    """Whether clients use new replicas."""
    told: bool = True
    """Whether the engines tell their demand and their speed."""
    truth: float = 1.0
    """Share of the speed that the engines tell with which they really serve."""
    hangs: bool = False
    """Whether all engines hang."""
    flapping: bool = False
    """Whether one pod's readiness comes and goes with every tick."""
    restarts_at: tuple[int, ...] = ()
    """Ticks at which the operator restarts, with the memory that the status keeps."""
    unseen: tuple[int, ...] = ()
    """Ticks at which no metrics are there."""
    rules: Mapping[str, Any] = field(default_factory=dict)
    time: float = 0.0
    pods: list[Pod] = field(default_factory=list)
    queue: float = 0.0
    decisions: list[Decision] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    """Replicas that were asked for at each tick."""
    late: list[tuple[float, float]] = field(default_factory=list)
    """(requests, requests' worth of deficit) of each tick."""
    memory: Memory = field(default_factory=Memory)

    def __post_init__(self) -> None:
        self.pods = [Pod(created=-1e6, ready_at=-1e6) for _ in range(self.replicas)]

    @property
    def reasons(self) -> list[str]:
        """Reason of the law at each tick."""
        return [decision.steps[0].reason for decision in self.decisions]

    @property
    def turns(self) -> int:
        """Changes of direction."""
        steps = [b - a for a, b in itertools.pairwise(self.sizes) if a != b]
        return sum((a > 0) != (b > 0) for a, b in itertools.pairwise(steps))

    @property
    def mean_deficit(self) -> float:
        """Over all requests."""
        return sum(lost for _, lost in self.late) / max(1.0, sum(count for count, _ in self.late))

    def run(self, seconds: float) -> Plant:
        """Run for so long."""
        end = self.time + seconds
        while self.time < end - 1e-9:
            self.time += TICK
            self._tick()
        return self

    def _tick(self) -> None:
        number = round(self.time / TICK)
        rate = self.arrivals(self.time - TICK / 2)
        ready = [pod for pod in self.pods if pod.ready_at <= self.time]
        for pod in ready:
            pod.hung = pod.hung or self.hangs
        used = [pod for pod in ready if pod.connected]
        serving = [pod for pod in used if not pod.hung]
        new = rate * TICK
        for pod in used:
            if pod.hung:
                pod.stuck += new / len(used)
        new *= len(serving) / max(1, len(used))
        served = PER_REPLICA * self.truth
        capacity = served * TICK * len(serving)
        ended = min(self.queue + new, capacity)
        self.queue += new - ended
        wait = self.queue / (served * len(serving)) if serving else 60.0
        lost = max(0.0, 0.95 - READING_SECONDS / (READING_SECONDS + wait)) if wait > 0.2 else 0.0
        stuck = sum(pod.stuck for pod in ready)
        opened = min(ended / TICK * SERVICE_SECONDS, 256.0 * len(serving)) + self.queue
        self.late.append((ended, lost * ended))
        counted = sum(count for count, _ in self.late[-4:]) + opened + stuck
        deficits = sum(value for _, value in self.late[-4:]) + lost * self.queue + 0.95 * stuck
        deficit = deficits / counted if counted else 0.0
        shown = len(ready) - (1 if self.flapping and number % 2 and len(ready) > 1 else 0)
        each = tuple(opened / max(1, len(serving)) if pod in serving else pod.stuck for pod in ready[:shown])
        now = NOW + self.time
        s = snapshot(
            spec=len(self.pods),
            ready=shown,
            starting_ages=tuple(self.time - pod.created for pod in self.pods if pod not in ready),
            overdue_on_a_node=sum(pod not in ready and self.time - pod.created > 600 for pod in self.pods),
            deficit=deficit if counted else NoTraffic(),
            open_requests=opened + stuck,
            open_on_each=each,
            smooth_goodput=200 * ended / TICK,
            throughput=200 * ended / TICK,
            arrivals=rate if self.told else None,
            answers=sum(count for count, _ in self.late[-4:]) / (TICK * len(self.late[-4:])),
            waiting=self.queue,
            loss=min(1.0, deficit / 0.95),
            at=now,
            **{"max_replicas": 64, **self.rules},
        )
        if number in self.unseen:
            gone = Missing(why="Prometheus is down")
            s = snapshot(
                spec=s.replicas.spec, ready=s.replicas.ready, deficit=gone, open_requests=gone, max_replicas=64
            )
        if number in self.restarts_at:
            self.memory = Memory.from_state(VERSION, self.memory.to_state())
        decision, self.memory = decide(s, self.memory, now)
        self.decisions.append(decision)
        self.sizes.append(decision.replicas)
        while len(self.pods) < decision.replicas:
            ready_at = self.time + self.warmup if self.starts else float("inf")
            self.pods.append(Pod(created=self.time, ready_at=ready_at, connected=self.spreads))
        if len(self.pods) > decision.replicas:
            self.pods = self.pods[: decision.replicas]
