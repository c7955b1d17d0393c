"""Readers who leave: after so long without a first token, or with nothing left to read."""

from __future__ import annotations

import heapq

import numpy as np
from benchmarks.scheduling.workload import Workload


class Readers:
    """Who reads what, and when they leave. Times are seconds from the start; indices are the workload's.

    Before the first token patience counts from the arrival, later from the time at which the reader has read all
    that came. A reader leaves between two steps, as the engine hears of it; a token that came in that step is read.
    """

    def __init__(self, workload: Workload) -> None:
        assert workload.patience is not None
        classes = [workload.classes[int(of)] for of in workload.class_of]
        self._patience = workload.patience.tolist()
        self._arrival = workload.arrival.tolist()
        # Until when a reader has something to read that kept up from the start; infinite without a reader.
        self._ideal = [
            arrival + qoe_class.expectation(int(prompt)).expected_ttft if qoe_class.pace > 0 else np.inf
            for arrival, qoe_class, prompt in zip(self._arrival, classes, workload.prompt_tokens, strict=True)
        ]
        self._period = [1 / c.pace if c.pace > 0 else 0.0 for c in classes]
        self._lag = [0.0] * workload.requests
        self._got = [False] * workload.requests
        self._open = [False] * workload.requests
        self._queue: list[tuple[float, int]] = []
        self.left = np.full(workload.requests, np.nan)
        """Seconds since its arrival after which each reader left; NaN: has not left."""

    def arrived(self, index: int) -> None:
        """A request came."""
        self._open[index] = True
        if self._ideal[index] < np.inf and self._patience[index] < np.inf:
            heapq.heappush(self._queue, (self._leaves(index), index))

    def got(self, owners: list[int], now: float) -> list[int]:
        """Each of `owners` got a token; those of them who are still there."""
        there = [index for index in owners if self._open[index]]
        for index in there:
            self._got[index] = True
            self._lag[index] = max(self._lag[index], now - self._ideal[index])
            self._ideal[index] += self._period[index]
        return there

    def ended(self, index: int) -> None:
        """A request has all its tokens."""
        self._open[index] = False

    def leave(self, now: float) -> list[int]:
        """Who leaves by `now`: gone from here on."""
        gone = []
        while self._queue and self._queue[0][0] <= now:
            _, index = heapq.heappop(self._queue)
            if not self._open[index]:
                continue
            at = self._leaves(index)
            if at > now:  # tokens came since this was reckoned
                heapq.heappush(self._queue, (at, index))
                continue
            self._open[index] = False
            self.left[index] = now - self._arrival[index]
            gone.append(index)
        return gone

    def _leaves(self, index: int) -> float:
        """When the reader leaves if no further token comes."""
        dry = self._ideal[index] + self._lag[index] if self._got[index] else self._arrival[index]
        return float(dry + self._patience[index])
