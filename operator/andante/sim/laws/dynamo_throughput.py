"""Dynamo's planner on throughput: the predicted rate over what one engine serves within its targets.

Source: ai-dynamo/dynamo, `components/src/dynamo/planner/core/throughput_scaling.py` and `load/predictors.py`. Only the
constant predictor (the next interval is as the last) is here. Its others (ARIMA, Kalman, Prophet) run in the real
planner (`benchmarks/league/dynamo.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

from andante.sim.fleet.seen import Seen, Totals
from andante.sim.laws.dynamo_model import AggregatedModel, StepSampler, benchmark_steps
from andante.sim.laws.parameters import Parameter, RivalLaw
from andante.sim.laws.windows import between, scraped


@dataclass(kw_only=True)
class DynamoThroughput(RivalLaw):
    """Each 180 s: requests per second over the best rate of one engine in the fitted model, rounded up."""

    period: float = 5.0
    interval: float = 180.0
    ttft: float = 0.5
    itl: float = 0.05
    benchmarked: bool = True
    _model: AggregatedModel = field(default_factory=AggregatedModel, init=False, repr=False)
    _sampler: StepSampler = field(default_factory=StepSampler, init=False, repr=False)
    _start: tuple[float, Totals] | None = field(default=None, init=False, repr=False)
    _since: float = field(default=0.0, init=False, repr=False)
    """When the interval began: its traffic begins with the newest counters of then, `_start`."""
    _started: bool = field(default=False, init=False, repr=False)

    PARAMETERS: ClassVar = (
        Parameter(name="ttft", low=0.05, high=10, logarithmic=True),
        Parameter(name="itl", low=0.005, high=0.5, logarithmic=True),
        Parameter(name="interval", low=15, high=600, logarithmic=True),
    )

    def wanted(self, seen: Seen) -> int:
        """Replicas to ask for now; unchanged between the intervals' ends."""
        if not self._started:
            self._started = True
            for step in benchmark_steps(seen.replica) if self.benchmarked else ():
                self._model.observe(step)
            self._sampler.steps(seen)
        else:
            for step in self._sampler.steps(seen).values():
                self._model.observe(step)
        if seen.source_down or seen.totals is None:
            return self.bounded(seen.spec)
        if self._start is None:
            self._since, self._start = seen.now, scraped(seen.now, seen.totals)
        newest = scraped(seen.now, seen.totals)
        if seen.now - self._since < self.interval or newest[0] <= self._start[0]:
            return self.bounded(seen.spec)
        traffic = between(self._start, newest)
        self._since, self._start = seen.now, newest
        prompt, output = traffic.prompt_tokens or 0.0, traffic.output_tokens or 0.0
        rate = self._model.best_rate(
            prompt=prompt,
            output=output,
            step_tokens=seen.replica.max_num_batched_tokens,
            ttft=self.ttft,
            itl=self.itl,
            kv_tokens=seen.replica.kv_tokens,
            max_seqs=seen.replica.max_num_seqs,
        )
        if rate <= 0:
            return self.bounded(seen.spec)
        planned = self.bounded(max(1, math.ceil(traffic.per_second / rate)))
        # The planner takes a plan for as many replicas as are ready for no change, also while others start.
        return self.bounded(seen.spec) if planned == seen.ready else planned
