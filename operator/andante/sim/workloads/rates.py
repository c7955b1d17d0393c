"""Shapes of the request rate over time: functions from seconds since the start to requests per second."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from andante.domain.compiled import Floats

Rate = Callable[[Floats], Floats]
"""Requests per second at each of some times (seconds, shape (n,))."""


def constant(rate: float) -> Rate:
    """Always `rate`."""
    return lambda at: np.full(at.shape, rate)


def step(rate: float, *, begins: float, ends: float, factor: float) -> Rate:
    """`factor` times `rate` from `begins` until `ends`, without announcement."""
    return lambda at: rate * np.where((at >= begins) & (at < ends), factor, 1.0)


def flash_crowd(rate: float, *, begins: float, factor: float, rise: float = 60.0, decay: float = 300.0) -> Rate:
    """`rate` that grows to `factor` times as much within `rise` seconds, and falls back by a factor e in `decay`."""

    def at_times(at: Floats) -> Floats:
        since = at - begins
        crowd = np.where(since < rise, np.clip(since / rise, 0.0, 1.0), np.exp(-np.maximum(since - rise, 0.0) / decay))
        return rate * (1 + (factor - 1) * crowd)

    return at_times


def series(rates: Floats, *, seconds: float) -> Rate:
    """Straight lines through `rates`, laid evenly over `seconds`: a recorded day, compressed."""
    times = np.linspace(0.0, seconds, rates.size)
    return lambda at: np.interp(at, times, rates)


def noisy(rate: Rate, *, seconds: float, deviation: float, memory: float, random: np.random.Generator) -> Rate:
    """`rate` times a logarithmic normal noise of mean 1 that forgets by a factor e in `memory` seconds."""
    count = math.ceil(seconds) + 1
    keeps = math.exp(-1.0 / memory)
    draws = random.normal(0.0, deviation * math.sqrt(1 - keeps * keeps), count)
    noise = np.zeros(count)
    for second in range(1, count):
        noise[second] = keeps * noise[second - 1] + draws[second]
    factors = np.exp(noise - deviation * deviation / 2)
    return lambda at: rate(at) * factors[np.minimum(at.astype(np.int64), count - 1)]
