"""What a run of a fleet gave its readers, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from andante.domain.compiled import Bools, Floats, Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The fleet at each scrape until the end of the run; arrays of shape (scrapes,)."""

    at: Floats
    """Seconds from the start."""
    spec: Ints
    """Replicas that the Deployment asks for."""
    ready: Ints
    """Replicas that serve: neither hung nor draining."""
    open_requests: Ints
    """On the replicas that were scraped, those that drain included."""
    arrived: Ints
    """Requests since the scrape before; one that is sent again counts again."""
    deficit: Floats
    """Mean QoE deficit by load, of requests that ended since the scrape before and of open ones; 0 without any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetOutcome:
    """The result of a run; arrays of shape (requests,). Times in seconds."""

    end: float
    """Until when the replicas are paid; requests that were open then were served to their end."""
    replica_hours: float
    """From each pod's place on a node to its end: warm-up and drain are paid."""
    arrival: Floats
    counts: Bools
    """Whether the request counts in QoE."""
    qoe: Floats
    """As the production meter scores it, from the reader's first attempt on; 0 for who gave up or was failed."""
    good: Bools
    left: Bools
    """Whether the reader left before the end."""
    errors: Ints
    """Attempts that the cluster failed: no replica served, the replica crashed or hung, or the stream was cut."""
    cut: int
    """Requests that were cut at the end of a drain."""
    tokens: Ints
    idle_penalty: Floats
    """Tokens."""
    first_token: Floats
    """Since the arrival; NaN without a token."""
    finish: Floats
    """When the request was over, from the start."""
    changes: tuple[tuple[float, int], ...]
    """(time, replicas asked for) of each change, the first one at the start."""
    steps: int
    """Engine steps of all replicas."""
    preemptions: int
    """By the policy and for want of KV blocks, on all replicas."""
    series: Series

    @property
    def mean_qoe(self) -> float:
        """Over the requests that count in QoE; NaN without any."""
        return float(self.qoe[self.counts].mean()) if self.counts.any() else float("nan")

    @property
    def share_good(self) -> float:
        """Of the requests that count in QoE; NaN without any."""
        return float(self.good[self.counts].mean()) if self.counts.any() else float("nan")

    @property
    def share_left(self) -> float:
        """Of all requests, those whose readers left; NaN without any."""
        return float(self.left.mean()) if self.left.size else float("nan")

    @property
    def smooth_goodput(self) -> float:
        """Tokens per second, less the penalty for readers' idle time."""
        return float((self.tokens - self.idle_penalty).sum() / self.end)

    @property
    def replicas(self) -> float:
        """Mean of the paid replicas."""
        return self.replica_hours * 3600.0 / self.end

    @property
    def direction_changes_per_hour(self) -> float:
        """How often the scaler turned from up to down or from down to up."""
        ways = np.sign(np.diff([replicas for _, replicas in self.changes]))
        ways = ways[ways != 0]
        return float((ways[1:] != ways[:-1]).sum() * 3600.0 / self.end)

    def recovery(self, *, after: float, target: float, window: float = 60.0) -> float:
        """Seconds from `after` until readers who come are served at mean QoE `target` again, until the run's end.

        Looks at windows of arrivals; 0 where no window was below, infinite where the last one is.
        """
        place = np.floor((self.arrival - after) / window).astype(np.int64)
        which = self.counts & (place >= 0)
        if not which.any():
            return 0.0
        many = np.bincount(place[which])
        total = np.bincount(place[which], self.qoe[which])
        below = np.flatnonzero((many > 0) & (total < target * many))
        if not below.size:
            return 0.0
        return float("inf") if below[-1] == many.size - 1 else float((below[-1] + 1) * window)
