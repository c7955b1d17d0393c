"""A throughput planner that is given our own model of a replica's capacity.

No project ships it. It is the hardest rival that we could build: what others have to learn or to benchmark, it takes
from the profile. Demand is counted in replicas' worth of work that arrived, the largest mean of the last minutes is
planned for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

from andante.sim.fleet.seen import Replica, Seen, Totals
from andante.sim.laws.latency_prediction import MICROSECOND, prefill_seconds
from andante.sim.laws.parameters import Parameter, RivalLaw
from andante.sim.laws.windows import Counters, Window

_PRIOR_OUTPUT = 150.0
"""Tokens of an answer before any ended, with the weight of `_PRIOR_REQUESTS` requests."""
_PRIOR_REQUESTS = 20.0


def batch_size(replica: Replica, *, prompt: float, output: float, time_per_token: float) -> float:
    """Sequences of a full replica: its KV, its limit, or a step that is as long as a token is read."""
    times = replica.step_time
    context = prompt + output / 2
    per_sequence = MICROSECOND * (times.token_us + times.decode_seq_us + times.context_token_us * context)
    fixed = MICROSECOND * times.fixed_us
    by_pace = (time_per_token - fixed) / per_sequence if per_sequence > 0 else math.inf
    by_kv = 0.97 * replica.kv_tokens / (context + 8)
    return max(1.0, min(by_kv, float(replica.max_num_seqs), by_pace))


def requests_per_second(
    replica: Replica, *, prompt: float, output: float, time_per_token: float, prefill: float | None = None
) -> float:
    """Requests per second of one replica at the batch that still keeps pace.

    `prompt`, `output`: means in tokens. `prefill`: mean seconds of a prompt's prefill; None: that of the mean prompt.
    """
    if prefill is None:
        prefill = prefill_seconds(prompt, replica)
    times = replica.step_time
    output = max(output, 1.0)
    size = batch_size(replica, prompt=prompt, output=output, time_per_token=time_per_token)
    per_sequence = times.token_us + times.decode_seq_us + times.context_token_us * (prompt + output / 2)
    step = MICROSECOND * (times.fixed_us + times.prefill_step_us + size * per_sequence)
    return size / (output * step + size * prefill)


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
        """Replicas' worth of work that arrived per second of the last interval."""
        samples = self._counters.samples
        if len(samples) < 2:
            return None
        (start, before), (end, after) = samples[0], samples[-1]
        arrived = after.arrived - before.arrived
        prompt, squared, output = self._means(after)
        if arrived <= 0 or prompt <= 0:
            return 0.0
        replica = seen.replica
        times = replica.step_time

        def prefill(tokens: float, squares: float) -> float:
            return MICROSECOND * (times.token_us * tokens + times.pair_us * (squares + tokens) / 2)

        mean_prefill = prefill(prompt, squared)
        rate = requests_per_second(
            replica,
            prompt=prompt,
            output=output,
            time_per_token=seen.objective.time_per_token,
            prefill=mean_prefill,
        )
        # The means say what a request costs; the interval's own prompts replace the mean prompt's prefill.
        own = prefill(
            after.arrived_prompt_tokens - before.arrived_prompt_tokens,
            after.arrived_prompt_tokens_squared - before.arrived_prompt_tokens_squared,
        )
        return (arrived * (1 / rate - mean_prefill) + own) / (end - start)

    def _means(self, latest: Totals) -> tuple[float, float, float]:
        """Mean prompt, mean of its square, mean answer."""
        first = self._lengths.samples[0][1]
        arrived, ended = latest.arrived - first.arrived, latest.ended - first.ended
        prompt = squared = 0.0
        if arrived > 0:
            prompt = (latest.arrived_prompt_tokens - first.arrived_prompt_tokens) / arrived
            squared = (latest.arrived_prompt_tokens_squared - first.arrived_prompt_tokens_squared) / arrived
        tokens = latest.ended_output_tokens - first.ended_output_tokens
        return prompt, squared, (tokens + _PRIOR_OUTPUT * _PRIOR_REQUESTS) / (ended + _PRIOR_REQUESTS)
