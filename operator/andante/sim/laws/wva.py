"""llm-d's workload variant autoscaler: saturation by percentages (V1) and by tokens (V2).

Source: llm-d-incubation/workload-variant-autoscaler, `internal/saturation/analyzer.go`,
`internal/engines/analyzers/saturation_v2/analyzer.go`, `internal/engines/pipeline/cost_aware_optimizer.go`. Both
publish a number each 30 s, which a HorizontalPodAutoscaler with windows of 240 s carries out.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import ClassVar

from andante.sim.fleet.seen import Seen
from andante.sim.laws.hpa import Actuator, Policy, Rules, Unit, average_of_total
from andante.sim.laws.parameters import Parameter, RivalLaw
from andante.sim.laws.windows import Counters, lengths

KV_THRESHOLD = 0.80
QUEUE_THRESHOLD = 5.0
_REMEMBERED = 10


@dataclass(kw_only=True)
class _PublishedNumber(RivalLaw):
    """A law that publishes a number on a tick of its own, which a HorizontalPodAutoscaler carries out."""

    tick: float = 30.0
    window: float = 240.0
    """Stabilisation window of the HorizontalPodAutoscaler, up and down."""
    _published: int | None = field(default=None, init=False, repr=False)
    _next: float = field(default=-math.inf, init=False, repr=False)
    _actuator: Actuator = field(init=False, repr=False)

    def __post_init__(self) -> None:
        RivalLaw.__post_init__(self)
        self._actuator = Actuator(
            min_replicas=self.min_replicas,
            max_replicas=self.max_replicas,
            up=Rules(window=self.window, policies=(Policy(Unit.PODS, 4, 15), Policy(Unit.PERCENT, 100, 15))),
            down=Rules(window=self.window, policies=(Policy(Unit.PERCENT, 100, 15),)),
        )

    @abstractmethod
    def publish(self, seen: Seen) -> int | None:
        """The number to publish at this tick; None: the last one stays."""

    def wanted(self, seen: Seen) -> int:
        """Replicas to ask for now."""
        if seen.spec == 0:
            return 0
        if seen.now >= self._next:
            self._next = seen.now + self.tick
            number = None if seen.source_down else self.publish(seen)
            # After a failed analysis the published number stays; before the first, the present replicas are published.
            self._published = number if number is not None else (self._published or seen.spec)
        published = float(self._published) if self._published is not None else None
        desired = None if seen.source_down else average_of_total(published, target=1.0, pods=len(seen.pods))
        return self._actuator.apply(desired, current=seen.spec, now=seen.now)


def saturation_step(
    kv: Sequence[float],
    queues: Sequence[float],
    *,
    kv_threshold: float = KV_THRESHOLD,
    queue_threshold: float = QUEUE_THRESHOLD,
    kv_trigger: float = 0.1,
    queue_trigger: float = 3.0,
) -> int:
    """V1's step: +1, 0 or -1, from the pods' largest KV use and queue of the last minute.

    A saturated pod is left out of the means of what is spare: one such pod beside an idle one gives no step.
    """
    spare = [
        (kv_threshold - use, queue_threshold - queue)
        for use, queue in zip(kv, queues, strict=True)
        if use < kv_threshold and queue < queue_threshold
    ]
    n = len(spare)
    spare_kv = fmean(s[0] for s in spare) if spare else 0.0
    spare_queue = fmean(s[1] for s in spare) if spare else 0.0
    if spare_kv < kv_trigger or spare_queue < queue_trigger:
        return 1
    if n < 2:
        return 0
    one_fewer = n / (n - 1)
    kv_left = kv_threshold - (kv_threshold - spare_kv) * one_fewer
    queue_left = queue_threshold - (queue_threshold - spare_queue) * one_fewer
    return -1 if kv_left >= kv_trigger and queue_left >= queue_trigger else 0


@dataclass(kw_only=True)
class WvaSaturation(_PublishedNumber):
    """One replica at a time, and none while the last step is not carried out or a pod has no metrics."""

    kv_trigger: float = 0.1
    queue_trigger: float = 3.0
    kv_threshold: float = KV_THRESHOLD
    queue_threshold: float = QUEUE_THRESHOLD

    PARAMETERS: ClassVar = (
        Parameter(name="kv_threshold", low=0.3, high=1.0),
        Parameter(name="kv_trigger", low=0.01, high=0.5),
        Parameter(name="queue_threshold", low=1, high=50, logarithmic=True),
        Parameter(name="queue_trigger", low=0.5, high=25, logarithmic=True),
        Parameter(name="window", low=1, high=600, logarithmic=True),
    )

    def publish(self, seen: Seen) -> int | None:
        """One replica more or fewer than now, or the last number."""
        measured = [
            (pod.most_kv_use, pod.most_waiting)
            for pod in seen.pods
            if pod.most_kv_use is not None and pod.most_waiting is not None
        ]
        if not measured:
            return None
        if (self._published is not None and self._published != seen.spec) or len(measured) != seen.spec:
            return self._published
        step = saturation_step(
            [m[0] for m in measured],
            [m[1] for m in measured],
            kv_threshold=self.kv_threshold,
            queue_threshold=self.queue_threshold,
            kv_trigger=self.kv_trigger,
            queue_trigger=self.queue_trigger,
        )
        return max(1, self.bounded(seen.spec + step))


@dataclass(kw_only=True)
class WvaTokens(_PublishedNumber):
    """Demand and capacity in KV tokens. What a replica carries is what it held when its queue was long."""

    kv_threshold: float = KV_THRESHOLD
    queue_threshold: float = QUEUE_THRESHOLD
    up_at: float = 0.85
    """Replicas are added until demand is at most this share of the capacity."""
    down_at: float = 0.70
    queued_output: float = 1.0
    """Share of the mean answer that a waiting request counts beside its prompt; earlier versions counted none."""
    _observed: dict[str, deque[float]] = field(default_factory=dict, init=False, repr=False)
    _counters: Counters = field(default_factory=lambda: Counters(300.0), init=False, repr=False)

    PARAMETERS: ClassVar = (
        Parameter(name="kv_threshold", low=0.3, high=1.0),
        Parameter(name="queue_threshold", low=1, high=50, logarithmic=True),
        Parameter(name="up_at", low=0.3, high=1.2),
        Parameter(name="down_at", low=0.1, high=1.0),
        Parameter(name="window", low=1, high=600, logarithmic=True),
    )

    def publish(self, seen: Seen) -> int | None:
        """The replicas whose capacity is enough for the demand; None when no pod could be read."""
        self._counters.add(seen.now, seen.totals)
        prompt, output = lengths(self._counters.traffic())
        capacities, demand = [], 0.0
        for pod in seen.pods:
            if pod.tokens_in_use is None or pod.waiting is None:
                continue
            capacities.append(self._capacity(pod.tokens_in_use, pod.waiting, prompt, output, seen))
            demand += pod.tokens_in_use + pod.waiting * (prompt + self.queued_output * output)
        if not capacities:
            return None
        if seen.router_waiting:
            demand += (seen.router_prompt_tokens or seen.router_waiting * prompt) + seen.router_waiting * output
        capacity = median(capacities)
        if capacity <= 0:
            return None
        measured, pending = len(capacities), max(0, seen.spec - seen.ready)
        required = demand / self.up_at - (measured + pending) * capacity
        spare = measured * capacity - demand / self.down_at
        if required > 0:
            return self.bounded(seen.spec + math.ceil(required / capacity))
        if spare > 0:
            return max(1, self.bounded(seen.spec - math.floor(spare / capacity)))
        return self.bounded(seen.spec)

    def _capacity(self, in_use: float, waiting: float, prompt: float, output: float, seen: Seen) -> float:
        memory_bound = self.kv_threshold * seen.replica.kv_tokens
        key = "short" if output < 100 else "medium" if output < 500 else "long"
        history = self._observed.setdefault(key, deque(maxlen=_REMEMBERED))
        if waiting >= self.queue_threshold and in_use > 0:
            history.append(in_use)
            compute_bound = in_use
        elif history:
            compute_bound = fmean(history)
        elif output > 0:
            steady = min(
                seen.replica.max_num_batched_tokens * output / (prompt + output), float(seen.replica.max_num_seqs)
            )
            compute_bound = steady * (prompt + output / 2)
        else:
            compute_bound = memory_bound
        return min(memory_bound, compute_bound)
