"""Measures smooth goodput: delivered tokens minus a penalty for users' idle time (arXiv 2410.14257v2, section 4.3).

    deadline             d_i = origin + i/p       origin: τ0 (from arrival, the default) or D_1 (from the first token)
    user idle latency    l = max(0, max_i (D_i - d_i))      (equation 9)
    benefit              b = n - α·f(l)                     (equation 10),  f(l) = l seconds, α in tokens/s
    smooth goodput       Σ b / T                            (equation 11),  tokens/s over an interval of T seconds

The paper leaves f and α open. We use f(l) = l, and α = p by default: one idle second costs the tokens that the user
could have read in it. With α = 0 smooth goodput is token throughput.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike

from andante.domain.pace import MAX_SECONDS
from andante.domain.qoe import check_delivery, check_expectation, delivery_error, time_error

IDLE_COST = "f(l) = l seconds"
"""The f that every report states."""
ALPHA_FACTORS = (0.0, 1.0, 4.0)
"""α as multiples of the pace p that every report shows."""


class Origin(StrEnum):
    """Where a request's deadlines start."""

    ARRIVAL = "arrival"
    """d_i = τ0 + i/p: waiting for the first token counts (the default)."""
    FIRST_TOKEN = "first_token"  # noqa: S105  not a secret
    """d_i = D_1 + i/p: only pauses within the stream count."""


class SmoothGoodputState:
    """The user idle latency of one request while its tokens arrive, O(1) a delivery. Seconds since arrival."""

    __slots__ = ("_expected_ttft", "_idle", "_last", "_origin_at", "_pace", "delivered_tokens", "origin")

    def __init__(self, *, expected_ttft: float, pace: float, origin: Origin = Origin.ARRIVAL) -> None:
        """`expected_ttft` (τ0) in seconds, >= 0; `pace` (p) in tokens/s, > 0. Raises ValueError naming the field."""
        check_expectation(expected_ttft=expected_ttft, pace=pace)
        self.origin = Origin(origin)
        self._expected_ttft = float(expected_ttft)
        self._pace = float(pace)
        # Until the first token, both origins count from τ0: a request that is never served must have a penalty.
        self._origin_at = self._expected_ttft
        self._idle = 0.0
        self._last = 0.0
        self.delivered_tokens: int = 0
        """n: tokens delivered so far."""

    def deliver(self, at: float, tokens: int = 1) -> None:
        """Count `tokens` tokens delivered together, `at` seconds after arrival.

        Raises ValueError when `at` is negative, not finite, or before an earlier delivery, or when `tokens` < 1.
        """
        self.deliver_all((at,), (tokens,))

    def deliver_all(self, times: Sequence[float], tokens: Sequence[int]) -> None:
        """As `deliver` for each of `times` (s) with its number of `tokens`; deliveries before a wrong one count."""
        last, worst, delivered = self._last, self._idle, self.delivered_tokens
        pace = self._pace
        try:
            for at, count in zip(times, tokens, strict=True):
                if not (last <= at <= MAX_SECONDS and count >= 1):
                    raise delivery_error(at=at, tokens=count, last=last)
                if not delivered and self.origin is Origin.FIRST_TOKEN:
                    self._origin_at = at
                # The first of the batch has the earliest deadline, so it decides.
                idle = at - (self._origin_at + (delivered + 1) / pace)
                if idle > worst:
                    worst = idle
                delivered += count
                last = at
        finally:
            self._last, self._idle, self.delivered_tokens = last, worst, delivered

    def idle_latency(self) -> float:
        """l in seconds of the tokens delivered so far."""
        return self._idle

    def open_idle_latency(self, now: float) -> float:
        """l in seconds if the request is still open `now` seconds after arrival: the next token may be overdue.

        Also the idle latency of a request that was cut or never served and kept its user waiting until `now`.
        Raises ValueError when `now` is before the last delivery.
        """
        if not self._last <= now <= MAX_SECONDS:
            raise time_error("now", now, last=self._last)
        return max(self._idle, now - (self._origin_at + (self.delivered_tokens + 1) / self._pace))


def idle_latency(delivery: ArrayLike, *, expected_ttft: float, pace: float, origin: Origin = Origin.ARRIVAL) -> float:
    """User idle latency in seconds of a recorded timeline (equation 9, clamped at 0), vectorised.

    `delivery`: shape (n,), seconds since arrival, ascending. 0 for n = 0: the timeline of a request that was never
    served does not contain the user's wait (see `SmoothGoodputState.open_idle_latency`).
    Raises ValueError naming the field.
    """
    check_expectation(expected_ttft=expected_ttft, pace=pace)
    times = check_delivery(delivery)
    if times.size == 0:
        return 0.0
    start = expected_ttft if Origin(origin) is Origin.ARRIVAL else float(times[0])
    deadlines = start + np.arange(1, times.size + 1) / pace
    return max(0.0, float(np.max(times - deadlines)))


def benefit(n: int, idle: float, alpha: float) -> float:
    """b = n - α·f(l) in tokens (equation 10): `n` tokens, `idle` seconds, `alpha` tokens/s.

    Raises ValueError naming the field when one is negative or not finite.
    """
    for name, value in (("n", n), ("idle", idle), ("alpha", alpha)):
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} must be finite and >= 0, got {value}")
    return n - alpha * idle


def classic_benefit(n: int, idle: float) -> float:
    """Classic goodput as a special case: all `n` tokens, or none once a deadline was missed (f = n·1(l > 0), α = 1)."""
    return 0.0 if idle > 0 else float(n)


def smooth_goodput(tokens: ArrayLike, idle: ArrayLike, *, alpha: ArrayLike, interval: float) -> float:
    """Smooth goodput in tokens/s (equation 11) of requests measured over `interval` seconds.

    `tokens`, `idle`: shape (requests,), tokens and idle seconds of each; `alpha`: tokens/s, one for all or one each.
    Without any request the result is 0. Raises ValueError naming the field.
    """
    if not 0 < interval < math.inf:
        raise ValueError(f"interval must be finite seconds > 0, got {interval}")
    counts, idles = np.asarray(tokens, dtype=np.float64), np.asarray(idle, dtype=np.float64)
    if counts.shape != idles.shape:
        raise ValueError(f"tokens and idle must have the same shape, got {counts.shape} and {idles.shape}")
    alphas = np.asarray(alpha, dtype=np.float64)
    for name, values in (("tokens", counts), ("idle", idles), ("alpha", alphas)):
        if not (np.isfinite(values) & (values >= 0)).all():
            raise ValueError(f"{name} must be finite and >= 0")
    return float(np.sum(counts - alphas * idles)) / interval
