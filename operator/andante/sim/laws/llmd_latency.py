"""llm-d's SLO-aware law: latencies over their targets, through KEDA.

Source: llm-d, `docs/architecture/autoscaling/slo-aware-keda.md` and `guides/workload-autoscaling/slo-aware`. The text
of the deployed ScaledObject was not in what we read, so it is unknown whether it keeps the up branch from asking for
fewer: `clamped` is that variant.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar

import numpy as np

from andante.sim.fleet.seen import Seen
from andante.sim.laws.hpa import Policy, Rules, Unit, average_of_total
from andante.sim.laws.keda import KedaLaw
from andante.sim.laws.latency_prediction import predicted
from andante.sim.laws.parameters import Parameter
from andante.sim.laws.windows import Counters, Window, lengths

UP = Rules(window=30.0, policies=(Policy(Unit.PERCENT, 100, 60), Policy(Unit.PODS, 4, 60)))
DOWN = Rules(window=180.0, policies=(Policy(Unit.PODS, 1, 120),))


class Predictor(StrEnum):
    """Which latencies the law reads."""

    NONE = "none"
    """Measured ones: no predictor is installed."""
    WARM = "warm"
    """Predicted ones, from the start."""
    COLD = "cold"
    """Measured ones until the predictor has seen enough requests, then predicted ones."""


COLD_REQUESTS = 1000.0
"""Ended requests that a cold predictor learns from before its series exist; our assumption."""


def slo_desired(
    provisioned: int, ready: int, saturation: float, *, up: float = 0.55, down: float = 0.40, clamped: bool = False
) -> int:
    """The formula: n provisioned and r ready replicas at smoothed saturation s; replicas, before bounds and rates.

    The credit r/n on the way up can ask for fewer replicas than there are, while they warm up, unless `clamped`.
    """
    n = provisioned
    if saturation > up:
        credit = ready / n if 0 < ready < n else 1.0
        wanted = n + math.ceil(n * (saturation * credit / up - 1))
        return max(n, wanted) if clamped else wanted
    if saturation < down:
        return n - math.floor(n * (1 - saturation / down))
    return n


@dataclass(kw_only=True)
class LlmdLatency(KedaLaw):
    """Recording rules each 15 s: the worse 90th percentile over its target, at most `cap`, smoothed over 45 s."""

    ttft_target: float = 3.0
    tpot_target: float = 0.1
    up_at: float = 0.55
    down_at: float = 0.40
    cap: float = 2.0
    smoothing: float = 45.0
    clamped: bool = False
    predictor: Predictor = Predictor.NONE
    predictor_error: float = 0.05
    """Standard deviation of a prediction, as a share of it."""
    seed: int = 0
    _saturation: Window = field(init=False, repr=False)
    _counters: Counters = field(default_factory=lambda: Counters(300.0), init=False, repr=False)
    _predictions: deque[tuple[float, float, float]] = field(default_factory=deque, init=False, repr=False)
    _random: np.random.Generator = field(init=False, repr=False)

    PARAMETERS: ClassVar = (
        Parameter(name="ttft_target", low=0.2, high=20, logarithmic=True),
        Parameter(name="tpot_target", low=0.01, high=1.0, logarithmic=True),
        Parameter(name="up_at", low=0.2, high=1.5),
        Parameter(name="down_at", low=0.05, high=1.2),
    )

    def __post_init__(self) -> None:
        KedaLaw.__post_init__(self)
        self._saturation = Window(self.smoothing)
        self._random = np.random.default_rng(self.seed)

    def behavior(self) -> tuple[Rules, Rules]:
        """The guide's: up the larger of 100 % and 4 pods per 60 s after 30 s, down one pod per 120 s after 180 s."""
        return UP, DOWN

    def triggers(self, seen: Seen) -> tuple[float | None, ...]:
        """Saturation, provisioned and ready replicas; None where Prometheus does not answer."""
        if seen.source_down:
            return None, None, None
        ttft, tpot = self._latencies(seen)
        ratios = [
            0.0 if value is None or math.isnan(value) else value / target
            for value, target in ((ttft, self.ttft_target), (tpot, self.tpot_target))
        ]
        self._saturation.add(seen.now, min(max(ratios), self.cap))
        smoothed = self._saturation.mean
        return smoothed, float(len(seen.pods)), float(seen.ready)

    def desired(self, triggers: tuple[float | None, ...], seen: Seen) -> int | None:
        """The formula's output, passed through with an AverageValue of 1."""
        saturation, provisioned, ready = triggers
        if saturation is None or provisioned is None or ready is None:
            return None
        down = min(self.down_at, self.up_at)
        wanted = slo_desired(int(provisioned), int(ready), saturation, up=self.up_at, down=down, clamped=self.clamped)
        return average_of_total(float(wanted), target=1.0, pods=int(provisioned))

    def _latencies(self, seen: Seen) -> tuple[float | None, float | None]:
        if self.predictor is Predictor.NONE:
            return seen.ttft_p90, seen.tpot_p90
        self._counters.add(seen.now, seen.totals)
        self._predict(seen)
        ended = seen.totals.ended if seen.totals else 0.0
        if not self._predictions or (self.predictor is Predictor.COLD and ended < COLD_REQUESTS):
            return seen.ttft_p90, seen.tpot_p90
        columns = np.array([p[1:] for p in self._predictions])
        ttft, tpot = np.quantile(columns, 0.9, axis=0)
        return float(ttft), float(tpot)

    def _predict(self, seen: Seen) -> None:
        """Keep the last minute's predictions, one for each ready pod and sample: routing spreads arrivals evenly."""
        while self._predictions and self._predictions[0][0] <= seen.now - 60.0:
            self._predictions.popleft()
        traffic = self._counters.traffic()
        prompt, output = lengths(traffic)
        if traffic is None or prompt <= 0:
            return
        for pod in seen.ready_pods:
            found = predicted(pod, seen.replica, prompt=prompt, output=output)
            if found is not None:
                noise = np.maximum(0.0, 1 + self.predictor_error * self._random.standard_normal(2))
                self._predictions.append((seen.now, found[0] * float(noise[0]), found[1] * float(noise[1])))
