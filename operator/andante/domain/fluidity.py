"""Measures TTFT, TPOT, max TBT and the fluidity index: reported beside QoE, never instead of QoE.

Fluidity index: Etalon (arXiv 2507.09019). Early tokens earn slack. A late token counts as all deadlines that passed
while it was missing, and the next deadline starts from this token.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from andante.domain.pace import MAX_SECONDS
from andante.domain.qoe import check_delivery, check_expectation, delivery_error

_ROUNDING = 1e-9
"""Seconds: a time that is late only by rounding is not late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyScore:
    """The usual latencies of one request, seconds; None where the request has too few tokens to have one."""

    ttft: float | None
    """Time to first token."""
    tpot: float | None
    """Time per output token after the first: (D_n - D_1) / (n - 1)."""
    max_tbt: float | None
    """Longest time between two consecutive tokens."""


class LatencyState:
    """TTFT, TPOT and max TBT of one request while its tokens arrive, O(1) a delivery. Seconds since arrival."""

    __slots__ = ("_first", "_last", "_longest", "delivered_tokens")

    def __init__(self) -> None:
        self._first = 0.0
        self._last = 0.0
        self._longest = 0.0
        self.delivered_tokens: int = 0
        """n: tokens delivered so far."""

    def deliver(self, at: float, tokens: int = 1) -> None:
        """Count `tokens` tokens delivered together, `at` seconds after arrival.

        Raises ValueError when `at` is negative, not finite, or before an earlier delivery, or when `tokens` < 1.
        """
        self.deliver_all((at,), (tokens,))

    def deliver_all(self, times: Sequence[float], tokens: Sequence[int]) -> None:
        """As `deliver` for each of `times` (s) with its number of `tokens`; deliveries before a wrong one count."""
        last, longest, delivered = self._last, self._longest, self.delivered_tokens
        try:
            for at, count in zip(times, tokens, strict=True):
                if not (last <= at <= MAX_SECONDS and count >= 1):
                    raise delivery_error(at=at, tokens=count, last=last)
                if not delivered:
                    self._first = at
                elif at - last > longest:
                    longest = at - last
                delivered += count
                last = at
        finally:
            self._last, self._longest, self.delivered_tokens = last, longest, delivered

    def score(self) -> LatencyScore:
        """The latencies of the tokens delivered so far."""
        n = self.delivered_tokens
        return LatencyScore(
            ttft=self._first if n else None,
            tpot=(self._last - self._first) / (n - 1) if n > 1 else None,
            max_tbt=self._longest if n > 1 else None,
        )


class FluidityState:
    """The fluidity index of one request while its tokens arrive, O(1) a delivery. Seconds since arrival.

    The first token's deadline is τ0, each further one comes 1/p later. A token that is `late` seconds late counts
    floor(late·p) + 1 missed deadlines, and the next deadline is 1/p after it.
    """

    __slots__ = ("_base", "_last", "_met", "_missed", "_pace", "_since_base")

    def __init__(self, *, expected_ttft: float, pace: float) -> None:
        """`expected_ttft` (τ0) in seconds, >= 0; `pace` (p) in tokens/s, > 0. Raises ValueError naming the field."""
        check_expectation(expected_ttft=expected_ttft, pace=pace)
        self._pace = float(pace)
        self._base = float(expected_ttft)
        self._since_base = 0
        self._last = 0.0
        self._met = 0
        self._missed = 0

    def deliver(self, at: float, tokens: int = 1) -> None:
        """Count `tokens` tokens delivered together, `at` seconds after arrival.

        Raises ValueError when `at` is negative, not finite, or before an earlier delivery, or when `tokens` < 1.
        """
        if not (self._last <= at <= MAX_SECONDS and tokens >= 1):
            raise delivery_error(at=at, tokens=tokens, last=self._last)
        late = at - (self._base + self._since_base / self._pace)
        if late > _ROUNDING:
            self._missed += math.floor(late * self._pace + _ROUNDING) + 1
            self._met += tokens - 1
            self._base, self._since_base = at, tokens
        else:
            self._met += tokens
            self._since_base += tokens
        self._last = at

    def index(self) -> float | None:
        """Share of deadlines met, in [0, 1]; None when nothing was delivered."""
        deadlines = self._met + self._missed
        return self._met / deadlines if deadlines else None


def latencies(delivery: ArrayLike) -> LatencyScore:
    """TTFT, TPOT and max TBT of a recorded timeline. `delivery`: shape (n,), seconds since arrival, ascending.

    Raises ValueError naming the first index that is wrong.
    """
    times = check_delivery(delivery)
    n = times.size
    return LatencyScore(
        ttft=float(times[0]) if n else None,
        tpot=float(times[-1] - times[0]) / (n - 1) if n > 1 else None,
        max_tbt=float(np.max(np.diff(times))) if n > 1 else None,
    )


def fluidity_index(delivery: ArrayLike, *, expected_ttft: float, pace: float) -> float | None:
    """Fluidity index of a recorded timeline; None for n = 0. `delivery`: shape (n,), seconds since arrival, ascending.

    Raises ValueError naming the field.
    """
    state = FluidityState(expected_ttft=expected_ttft, pace=pace)
    for at in check_delivery(delivery).tolist():
        state.deliver(at)
    return state.index()
