"""A throughput planner that is given our own model of a replica's capacity.

No project ships it. What others have to learn or to benchmark, it takes from the profile: a hard rival. Demand is
counted in replicas' worth of work that arrived, as in Andante's own law; the largest mean of the last minutes is
planned for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

from andante.domain.scaling.capacity import Lengths, requests_per_second
from andante.domain.scaling.engine_capacity import EngineCapacity
from andante.domain.step_time import LinearStepTime
from andante.sim.fleet.seen import Replica, Seen, Totals
from andante.sim.laws.parameters import Parameter, RivalLaw
from andante.sim.laws.windows import Counters, Window

_PRIOR_OUTPUT = 150.0
"""Tokens of an answer before any ended, with the weight of `_PRIOR_REQUESTS` requests."""
_PRIOR_REQUESTS = 20.0


def engine_capacity(replica: Replica) -> EngineCapacity:
    """What Andante's law would know of this replica once its fit has settled."""
    return EngineCapacity(
        kv_tokens=replica.kv_tokens,
        max_num_seqs=replica.max_num_seqs,
        max_step_tokens=replica.max_num_batched_tokens,
        step_time=LinearStepTime.from_profile(replica.step_time),
        fitted=True,
    )


@dataclass(kw_only=True)
class CapacityPlanner(RivalLaw):
    """Each `interval`: the largest mean of demand within `memory`, over `utilization` of the capacity."""

    interval: float = 30.0
    """Seconds over which demand is averaged, and between two plans."""
    memory: float = 600.0
    utilization: float = 0.95
    _counters: Counters = field(init=False, repr=False)
    _lengths: Counters = field(default_factory=lambda: Counters(1200.0), init=False, repr=False)
    _demand: Window = field(init=False, repr=False)
    _next: float = field(default=-math.inf, init=False, repr=False)
    _planned: int | None = field(default=None, init=False, repr=False)

    PARAMETERS: ClassVar = (
        Parameter(name="utilization", low=0.2, high=1.5, logarithmic=True),
        Parameter(name="interval", low=15, high=300, logarithmic=True),
        Parameter(name="memory", low=30, high=3600, logarithmic=True),
    )

    def __post_init__(self) -> None:
        RivalLaw.__post_init__(self)
        self._counters = Counters(self.interval)
        self._demand = Window(max(self.memory, self.interval + 1e-9))

    def wanted(self, seen: Seen) -> int:
        """The plan in force; the present replicas before the first plan, and without metrics."""
        self._counters.add(seen.now, seen.totals)
        self._lengths.add(seen.now, seen.totals)
        if seen.now >= self._next and not seen.source_down and seen.totals is not None:
            demand = self._demand_now(seen)
            if demand is not None:
                self._next = seen.now + self.interval
                self._demand.add(seen.now, demand)
                self._planned = max(1, math.ceil(max(self._demand.values) / self.utilization))
        return self.bounded(seen.spec if self._planned is None else self._planned)

    def _demand_now(self, seen: Seen) -> float | None:
        """Replicas' worth of work that arrived in the last interval; None before the first one is over."""
        traffic = self._counters.traffic()
        if traffic is None:
            return None
        if traffic.prompt_tokens is None:
            return 0.0
        engine, lengths = engine_capacity(seen.replica), self._means(traffic.per_second)
        each = 1 / requests_per_second(engine, lengths, pace=seen.objective.pace)
        # The means say what a request costs; the interval's own prompts replace the mean prompt's prefill.
        prefill = engine.step_time.prefill_token * (traffic.prompt_tokens - lengths.prompt)
        return traffic.per_second * (each + prefill)

    def _means(self, rate: float) -> Lengths:
        (_, first), (_, latest) = self._lengths.samples[0], self._lengths.samples[-1]
        return Lengths(prompt=_mean_prompt(first, latest), answer=_mean_output(first, latest), rate=rate)


def _mean_prompt(first: Totals, latest: Totals) -> float:
    arrived = latest.arrived - first.arrived
    return (latest.arrived_prompt_tokens - first.arrived_prompt_tokens) / arrived if arrived > 0 else 0.0


def _mean_output(first: Totals, latest: Totals) -> float:
    tokens = latest.ended_output_tokens - first.ended_output_tokens
    ended = latest.ended - first.ended
    return (tokens + _PRIOR_OUTPUT * _PRIOR_REQUESTS) / (ended + _PRIOR_REQUESTS)
