"""Throughput of a run without its tail."""

from __future__ import annotations

import math

import numpy as np
from benchmarks.scheduling.virtual_time import Run
from benchmarks.scheduling.workload import Workload

SHARE = 0.95
"""Of the output tokens; the rest is the tail."""


def throughput_to_95(workload: Workload, run: Run) -> float:
    """Output tokens/s until `SHARE` of all were out; 0 where there are none.

    A run ends with its last stream. One of 2,000 tokens takes two minutes, whatever the engine does beside it: after a
    minute's arrivals it sets tokens/s until all is done, and the order of service, not the rate, says when it starts.
    """
    times = np.concatenate([arrival + of_one for arrival, of_one in zip(workload.arrival, run.delivery, strict=True)])
    if not times.size:
        return 0.0
    count = math.ceil(SHARE * times.size)
    return float(count / np.partition(times, count - 1)[count - 1])
