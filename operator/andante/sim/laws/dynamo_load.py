"""Dynamo's planner on load: KV thresholds and estimated latencies, for engines that prefill and decode.

Source: ai-dynamo/dynamo, `components/src/dynamo/planner/core/load_scaling.py` (aggregated mode).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar

from andante.sim.fleet.seen import PodSeen, Seen
from andante.sim.laws.dynamo_model import AggregatedModel, StepSampler, benchmark_steps
from andante.sim.laws.parameters import Parameter, RivalLaw


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """What the planner reads of one engine, in tokens."""

    scheduled_kv: int
    queued_kv: int
    queued_prefill: int

    @classmethod
    def of(cls, pod: PodSeen) -> Engine | None:
        """None where the pod cannot be read."""
        if pod.tokens_in_use is None or pod.queued_prompt_tokens is None or pod.queued_kv_tokens is None:
            return None
        return cls(
            scheduled_kv=round(pod.tokens_in_use),
            queued_kv=round(pod.queued_kv_tokens),
            queued_prefill=round(pod.queued_prompt_tokens),
        )


def engines_of(seen: Seen) -> list[Engine] | None:
    """The engines; None: hold, as a scaling is in progress, nothing is read, or an engine is missing."""
    if seen.source_down or seen.spec != seen.ready:
        return None
    found = [engine for pod in seen.ready_pods if (engine := Engine.of(pod)) is not None]
    return found if found and len(found) == seen.ready else None


class Target(StrEnum):
    """The planner's `optimization_target` without latencies."""

    LATENCY = "latency"
    THROUGHPUT = "throughput"


THRESHOLDS = {Target.THROUGHPUT: (1.0, 0.6), Target.LATENCY: (0.4, 0.1)}
"""KV use of an engine above which a replica is added, and below which (all engines) one is removed."""


@dataclass(kw_only=True)
class DynamoEasy(RivalLaw):
    """One replica up when any engine's KV use and queue exceed a threshold, down when all are below another."""

    period: float = 5.0
    target: Target = Target.LATENCY
    up_at: float | None = None
    """None: the threshold of `target`."""
    down_at: float | None = None
    _started: bool = field(default=False, init=False, repr=False)

    PARAMETERS: ClassVar = (
        Parameter(name="up_at", low=0.1, high=2.0, logarithmic=True),
        Parameter(name="down_at", low=0.02, high=1.0, logarithmic=True),
    )

    def __post_init__(self) -> None:
        up, down = THRESHOLDS[self.target]
        self.up_at = up if self.up_at is None else self.up_at
        self.down_at = down if self.down_at is None else self.down_at
        RivalLaw.__post_init__(self)

    def wanted(self, seen: Seen) -> int:
        """Replicas to ask for now; the planner waits for an interval when it starts."""
        engines = engines_of(seen) if self._started else None
        self._started = True
        if engines is None:
            return self.bounded(seen.spec)
        up, down = self.up_at or 0.0, self.down_at or 0.0
        uses = [(e.scheduled_kv + e.queued_kv + e.queued_prefill) / seen.replica.kv_tokens for e in engines]
        if any(use > up for use in uses):
            return self.bounded(seen.ready + 1)
        if seen.ready > 1 and all(use < down for use in uses):
            return self.bounded(seen.ready - 1)
        return self.bounded(seen.ready)


@dataclass(kw_only=True)
class DynamoSla(RivalLaw):
    """Up when *all* engines' estimated latency misses a target; down when one fewer would still meet both.

    The model starts from a benchmark of the profile, as Dynamo's does, and learns from a step of each engine and tick.
    """

    period: float = 5.0
    ttft: float = 0.5
    itl: float = 0.05
    sensitivity: float = 0.8
    """Share of a target that the replicas that stay may use after one was removed."""
    benchmarked: bool = True
    _model: AggregatedModel = field(default_factory=AggregatedModel, init=False, repr=False)
    _sampler: StepSampler = field(default_factory=StepSampler, init=False, repr=False)
    _started: bool = field(default=False, init=False, repr=False)

    PARAMETERS: ClassVar = (
        Parameter(name="ttft", low=0.05, high=10, logarithmic=True),
        Parameter(name="itl", low=0.005, high=0.5, logarithmic=True),
        Parameter(name="sensitivity", low=0.2, high=1.0),
    )

    def wanted(self, seen: Seen) -> int:
        """Replicas to ask for now; the planner waits for an interval when it starts."""
        if not self._started:
            self._started = True
            for step in benchmark_steps(seen.replica) if self.benchmarked else ():
                self._model.observe(step)
            self._sampler.steps(seen)
            return self.bounded(seen.spec)
        for step in self._sampler.steps(seen).values():
            self._model.observe(step)
        engines = engines_of(seen)
        if engines is None or not self._model.has_enough:
            return self.bounded(seen.spec)
        n = seen.ready
        prefill, decode = self._prefill(engines, seen), self._decode(engines, seen)
        if 1 in (prefill, decode):
            return self.bounded(n + 1)
        down = decode == -1 and prefill in (-1, None)
        return self.bounded(n - 1 if down and n > 1 else n)

    def _prefill(self, engines: list[Engine], seen: Seen) -> int | None:
        """+1, -1, 0, or None where the estimates do not say, from the time to first token."""
        n, tokens = len(engines), seen.replica.max_num_batched_tokens
        more = n / (n - 1) if n > 1 else 1.0
        estimates, safe, refused = [], n > 1, False
        for engine in engines:
            estimate = self._model.time_to_first_token(
                queued=engine.queued_prefill, decode_kv=engine.scheduled_kv, step_tokens=tokens
            )
            if estimate is not None:
                estimates.append(estimate)
            if not safe:
                continue
            # Those that were preempted move to the replicas that stay, and decode there.
            kv = int((engine.scheduled_kv + engine.queued_kv) * more)
            own = self._model.time_to_first_token(queued=0, decode_kv=kv, step_tokens=tokens)
            after = self._model.time_to_first_token(
                queued=int(engine.queued_prefill * more), decode_kv=kv, step_tokens=tokens
            )
            if own is None or after is None:
                safe = False
                continue
            # Only the queue's part shrinks with more replicas: the own prefill is left out of the margin.
            budget = (self.ttft - own) * self.sensitivity
            refused = budget <= 0 or after - own >= budget
            safe = not refused
        verdict = _verdict(estimates, self.ttft, safe=safe)
        # Without an estimate of some engine the planner leaves a scale-down to the time between tokens.
        return None if verdict == 0 and not refused else verdict

    def _decode(self, engines: list[Engine], seen: Seen) -> int | None:
        """The same from the time between tokens, and whether the KV would fit."""
        n = len(engines)
        more = n / (n - 1) if n > 1 else 1.0
        estimates, safe = [], n > 1
        for engine in engines:
            estimate = self._model.inter_token_latency(decode_kv=engine.scheduled_kv + engine.queued_kv)
            if estimate is not None:
                estimates.append(estimate)
            if not safe:
                continue
            kv = int((engine.scheduled_kv + engine.queued_kv + engine.queued_prefill) * more)
            after = self._model.inter_token_latency(decode_kv=kv)
            safe = kv < seen.replica.kv_tokens and after is not None and after < self.itl * self.sensitivity
        return _verdict(estimates, self.itl, safe=safe)


def _verdict(estimates: list[float], target: float, *, safe: bool) -> int | None:
    if not estimates:
        return None
    if all(estimate > target for estimate in estimates):
        return 1
    return -1 if safe else 0
