"""Reckons what a number of replicas would have lost over the forecast's own errors of the last hour.

This is how the law finds a service's reserve by itself: bursty work needs a multiple of its mean, and smooth work needs
none. The queue is a fluid one: work that arrives beyond the capacity waits, and the wait delays all readers alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from andante.domain.scaling.forecast import ERROR_FLOOR, SLOT_SECONDS

PRIOR_SLOTS = 20.0
"""Slots without any loss that are added to the replayed ones: five minutes of errors prove little."""
EPISODE_GAP = 8
"""Slots below the capacity that end an episode: two bursts within two minutes are one."""
PATIENCE_SECONDS = 2.0
"""A wait after which a request is not good any more: its first tokens come too late, and its reader has no slack."""
MOST_MORE = 64
"""Replicas beyond the forecast that are tried: errors of an hour never asked for more in any trace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Readers:
    """What a wait costs a reader."""

    seconds: float
    """Half of the time that it takes to read a mean answer: (tokens + 1) / (2 pace)."""
    count_good: bool
    """Whether the loss is the share of requests that are not good; False: what the mean QoE lacks."""

    def loss(self, waits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Loss per request at each wait. A response that is late by w as a whole has QoE R/(R + w), as its delay area
        is n·w and its reading area n(n+1)/(2 pace) (see `andante.domain.qoe`)."""
        if self.count_good:
            return np.where(waits > PATIENCE_SECONDS, 1.0, waits / (2 * PATIENCE_SECONDS))
        lost: NDArray[np.float64] = waits / (self.seconds + waits)
        return lost


class Replay:
    """The demand of the last hour as it lies around the present forecast."""

    def __init__(self, errors: ArrayLike, *, forecast: float, longest_episode: int) -> None:
        """`longest_episode`: slots beyond the capacity up to which an episode that came once is no evidence."""
        self._longest = longest_episode
        self._demand = np.maximum(
            0.0, forecast + np.asarray(errors, dtype=np.float64) * max(forecast, ERROR_FLOOR) ** 0.5
        )
        self._whole = float(self._demand.sum()) + PRIOR_SLOTS * forecast

    def loss(self, capacity: float, readers: Readers) -> float:
        """The share that this capacity (replicas' worth) would have lost, the one largest short episode left out."""
        demand = self._demand
        if not demand.size or capacity <= 0 or self._whole <= 0 or demand.max() <= capacity:
            return 0.0
        # Lindley's recursion b = max(0, b + x) is the running sum above its own running minimum.
        total = np.cumsum((demand - capacity) * SLOT_SECONDS)
        queue = total - np.minimum(np.minimum.accumulate(total), 0.0)
        before = np.concatenate(([0.0], queue[:-1]))
        lost = demand * readers.loss((before + queue) / (2 * capacity))
        return max(0.0, float(lost.sum()) - self._largest_episode(lost, capacity)) / self._whole

    def _largest_episode(self, lost: NDArray[np.float64], capacity: float) -> float:
        """What the largest episode lost that exceeded the capacity for at most `longest_episode` slots: an event that
        came once and went is no evidence that it comes back. A lasting overload is evidence, however seldom it is. An
        episode begins with the demand beyond the capacity, and what is lost until the next one is its own."""
        over = np.flatnonzero(self._demand > capacity)
        first = np.concatenate(([0], np.flatnonzero(np.diff(over) > EPISODE_GAP + 1) + 1))
        lengths = np.diff(np.concatenate((first, [over.size])))
        short = np.add.reduceat(lost, over[first])[lengths <= self._longest]
        return float(short.max()) if short.size else 0.0


def fewest(replay: Replay, readers: Readers, *, least: int, capacity: float, allowed: float) -> int:
    """The fewest replicas, at least `least`, that would have lost no more than `allowed`; where none of them would,
    `MOST_MORE` more than `least`. `capacity`: of one replica. The steps double until it is enough, and then halve: the
    loss falls with the replicas."""

    def enough(replicas: int) -> bool:
        return replay.loss(replicas * capacity, readers) <= allowed

    if enough(least):
        return least
    most = least + MOST_MORE
    low, step = least, 1
    while not enough(high := min(low + step, most)):
        if high == most:
            return most
        low, step = high, 2 * step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
