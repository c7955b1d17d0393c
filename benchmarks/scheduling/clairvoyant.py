"""A reference that no scheduler can be: it knows every answer's length, and a preemption costs it nothing.

The same value per memory as `qoe_policy`, with true lengths; everybody competes for the KV cache anew at each decision,
and KV that was taken away comes back at no cost. Not a bound (it is greedy), but far from what one can build. Its
engine is the profile itself: no vLLM, no blocks.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from benchmarks.scheduling.workload import Workload
from numpy.typing import NDArray

from andante.domain.compiled import Floats
from andante.domain.scheduling.lengths import LengthEstimator
from andante.domain.scheduling.prediction import final_qoe
from andante.domain.scheduling.view import RequestView
from andante.domain.step_time import Profile

DECIDE_EVERY = 8
"""Steps; it also decides when a request comes or ends."""
PREFILL_SECONDS = 0.3
"""Prefill admitted into one step, as in `qoe_policy`."""
SHORTEST_HORIZON, LONGEST_HORIZON = 20.0, 200.0
"""Seconds that whoever is not served is reckoned to wait: as long as the work takes, within these.

Who must learn the lengths does better with the longest always, as `qoe_policy` does where preemption is all but free.
"""


class Clairvoyant:
    """Serves a workload of one reading class; `run` returns the mean QoE and the tokens/s.

    With `lengths_known` false it learns them as `qoe` does: what is left of the distance is the price of preemption.
    """

    def __init__(
        self,
        workload: Workload,
        profile: Profile,
        *,
        lengths_known: bool = True,
    ) -> None:
        self._workload, self._profile = workload, profile
        self._learned = None if lengths_known else LengthEstimator(1)
        self._shortest_horizon = SHORTEST_HORIZON if lengths_known else LONGEST_HORIZON
        reading = workload.classes[0]
        self._ttft, self._period = reading.expected_ttft, 1 / reading.pace
        count = workload.requests
        self._prompt = workload.prompt_tokens.astype(float)
        self._length = workload.output_tokens.astype(float)
        self._delivered, self._lag, self._area = np.zeros(count), np.zeros(count), np.zeros(count)
        self._prefilled = np.zeros(count, dtype=np.bool_)
        self._interval = 0.05

    def run(self) -> Mapping[str, float]:
        """Serves everybody to the end."""
        arrival, coefficients = self._workload.arrival, self._profile.coefficients
        now, arrived, steps = 0.0, 0, 0
        opened: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        chosen: NDArray[np.int64] = opened
        stale = True
        while arrived < arrival.size or opened.size:
            if not opened.size:
                now = max(now, float(arrival[arrived]))
            upto = int(np.searchsorted(arrival, now, side="right"))
            if upto > arrived:
                opened = np.concatenate((opened, np.arange(arrived, upto)))
                arrived, stale = upto, True
            if stale or steps % DECIDE_EVERY == 0:
                chosen, stale = self._choose(opened, now), False
            old = chosen[self._prefilled[chosen]]
            fresh = self._fresh(chosen[~self._prefilled[chosen]])
            prompts = self._prompt[fresh]
            seconds = coefficients.step_seconds(
                prefill_tokens=int(prompts.sum()),
                prefill_pairs=int((prompts * (prompts + 1) / 2).sum()),
                decode_seqs=old.size,
                context_tokens=int((self._prompt[old] + self._delivered[old]).sum()),
            )
            now += seconds
            steps += 1
            self._interval += 0.05 * (seconds - self._interval)
            served = np.concatenate((old, fresh))
            self._prefilled[fresh] = True
            due = arrival[served] + self._ttft + self._delivered[served] * self._period
            self._lag[served] = np.maximum(self._lag[served], now - due)
            self._area[served] += self._lag[served]
            self._delivered[served] += 1
            ended = served[self._delivered[served] >= self._length[served]]
            if ended.size:
                if self._learned is not None:
                    for length in self._length[ended].tolist():
                        self._learned.ended(class_index=0, tokens=int(length))
                opened = opened[self._delivered[opened] < self._length[opened]]
                stale = True
        reading = 0.5 * self._length * (self._length + 1) * self._period
        return {
            "mean_qoe": float((reading / (reading + self._area)).mean()),
            "throughput": float(self._length.sum() / now),
            "steps": float(steps),
        }

    def _fresh(self, fresh: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of `fresh` whose prefill fits into this step; at least one."""
        tokens = np.cumsum(self._prompt[fresh])
        most = min(PREFILL_SECONDS / (1e-6 * self._profile.coefficients.token_us), self._profile.max_num_batched_tokens)
        return fresh[: max(int(np.searchsorted(tokens, most, side="right")), min(1, fresh.size))]

    def _choose(self, opened: NDArray[np.int64], now: float) -> NDArray[np.int64]:
        """Whom to serve until the next decision: value per memory and time, as many as fit."""
        context = self._prompt[opened] + self._delivered[opened]
        capacity = float(self._profile.kv_capacity_tokens)
        needed = context + DECIDE_EVERY
        if float(needed.sum()) <= capacity and opened.size <= self._profile.max_num_seqs:
            return opened
        view = self._view(opened, now, context)
        rest = view.remaining
        work = (context + 0.5 * rest) * rest * self._interval
        horizon = float(np.clip(work.sum() / capacity, self._shortest_horizon, LONGEST_HORIZON))
        soon = view.elapsed + self._interval
        gain = final_qoe(view, next_token=soon, interval=self._interval) - final_qoe(
            view, next_token=soon + horizon, interval=self._interval
        )
        order = np.argsort(-(gain + 1e-6) / work, kind="stable")
        fits = np.cumsum(needed[order]) <= capacity
        return opened[order[: min(int(np.argmin(fits)), self._profile.max_num_seqs)]]

    def _remaining(self, opened: NDArray[np.int64]) -> Floats:
        if self._learned is None:
            return self._length[opened] - self._delivered[opened]
        return self._learned.remaining(
            class_index=np.zeros_like(opened), delivered=self._delivered[opened], longest=np.full(opened.size, np.inf)
        )

    def _view(self, opened: NDArray[np.int64], now: float, context: Floats) -> RequestView:
        count = opened.size
        return RequestView.of(
            running=self._prefilled[opened],
            elapsed=now - self._workload.arrival[opened],
            expected_ttft=np.full(count, self._ttft),
            seconds_per_token=np.full(count, self._period),
            deadline=np.full(count, np.nan),
            weight=np.ones(count),
            delivered=self._delivered[opened],
            lag=self._lag[opened],
            delay_area=self._area[opened],
            context=context,
            kept=np.zeros(count),
            remaining=self._remaining(opened),
            preemptions=np.zeros(count),
            prefilling=np.zeros(count, dtype=np.bool_),
        )
