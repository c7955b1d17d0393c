"""Computes the QoE of one request: how much of the text the user could read without waiting.

The engine's meter, the load generator, the scheduler and the simulator score requests with this module and no other.
`QoEState` scores while tokens arrive, in O(1) time and memory; `score_timeline` scores a recorded timeline at once.

    ideal consumption    I_i = τ0 + (i-1)/p
    actual consumption   A_1 = max(D_1, I_1),  A_i = max(D_i, A_{i-1} + 1/p)     (Andes v2, section 3.1)
    lag                  A_i - I_i = max over j <= i of (D_j - I_j)^+            (the recursion above, solved)
    QoE                  S_read / (S_read + S_delay),  S_read = n(n+1)/(2p),  S_delay = Σ (A_i - I_i)
    Andes' own QoE       1 - S_delay / Σ (A_n - I_i)                             (Andes v2, equation 3)

The lag never falls, so tokens that are delivered together share one lag, and a batch of tokens is O(1) too.
An answer that does not stream is due when a stream's last token would be due, and is late as a whole: `score_whole`,
`open_whole`.

Andes is arXiv 2404.16283. Andes' own QoE is kept beside ours for comparison with the paper. It divides by the actual
end, so delaying the last token raises it. No decision may use it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from andante.domain.pace import MAX_PACE, MAX_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class QoEScore:
    """The scores of one ended request."""

    delivered_tokens: int
    """n: visible tokens that reached the client's connection."""
    qoe: float
    """In [0, 1]; 1 when no token was late, 0 when none was delivered."""
    andes_qoe: float
    """Andes' own QoE (v2, equation 3), in [0, 1]; reported beside `qoe`, never used for decisions."""
    mean_delay: float
    """δ = S_delay / n in seconds; infinite when no token was delivered."""


class QoEState:
    """The QoE of one request while its tokens arrive; keeps no timeline. Times are seconds since arrival."""

    __slots__ = ("_delay_area", "_expected_ttft", "_lag", "_last", "_pace", "delivered_tokens")

    def __init__(self, *, expected_ttft: float, pace: float) -> None:
        """`expected_ttft` (τ0) in seconds, >= 0; `pace` (p) in tokens/s, > 0. Raises ValueError naming the field."""
        check_expectation(expected_ttft=expected_ttft, pace=pace)
        self._expected_ttft = float(expected_ttft)
        self._pace = float(pace)
        self._lag = 0.0
        self._delay_area = 0.0
        self._last = 0.0
        self.delivered_tokens: int = 0
        """n: tokens delivered so far."""

    @property
    def lag(self) -> float:
        """A_n - I_n in seconds: how far the user's reading is behind the ideal; never falls."""
        return self._lag

    @property
    def dry_since(self) -> float:
        """A_n + 1/p: when the user has read all delivered tokens, seconds since arrival; τ0 at n = 0."""
        return self._expected_ttft + self.delivered_tokens / self._pace + self._lag

    @property
    def delay_area(self) -> float:
        """S_delay of the delivered tokens, token-seconds."""
        return self._delay_area

    @property
    def last_delivery(self) -> float:
        """D_n in seconds since arrival; 0 when nothing was delivered."""
        return self._last

    def deliver(self, at: float, tokens: int = 1) -> None:
        """Count `tokens` tokens handed to the client's connection together, `at` seconds after arrival.

        Raises ValueError when `at` is negative, not finite, or before an earlier delivery, or when `tokens` < 1.
        """
        self.deliver_all((at,), (tokens,))

    def deliver_all(self, times: Sequence[float], tokens: Sequence[int]) -> None:
        """As `deliver` for each of `times` (s) with its number of `tokens`; deliveries before a wrong one count."""
        last, lag, area, delivered = self._last, self._lag, self._delay_area, self.delivered_tokens
        expected_ttft, pace = self._expected_ttft, self._pace
        try:
            for at, count in zip(times, tokens, strict=True):
                if not (last <= at <= MAX_SECONDS and count >= 1):
                    raise delivery_error(at=at, tokens=count, last=last)
                late = at - (expected_ttft + delivered / pace)
                if late > lag:
                    lag = late
                area += count * lag
                delivered += count
                last = at
        finally:
            self._last, self._lag, self._delay_area, self.delivered_tokens = last, lag, area, delivered

    def deliver_evenly(self, first: float, gap: float, tokens: int) -> None:
        """As `deliver` for `tokens` single tokens: the first at `first`, then one every `gap` seconds (>= 0).

        O(1). Raises ValueError as `deliver`.
        """
        last = first + (tokens - 1) * gap
        if not (gap >= 0 and tokens >= 1 and self._last <= first and last <= MAX_SECONDS):
            raise delivery_error(at=first if self._last > first else last, tokens=tokens, last=self._last)
        late = first - (self._expected_ttft + self.delivered_tokens / self._pace)
        growth = gap - 1 / self._pace
        if growth <= 0:
            self._lag = max(self._lag, late)
            self._delay_area += tokens * self._lag
        else:
            # The lag stays as before while it is larger than the new tokens' delay; then it grows with each token.
            staying = min(tokens, max(0, math.floor((self._lag - late) / growth) + 1)) if self._lag >= late else 0
            growing = tokens - staying
            self._delay_area += staying * self._lag
            self._delay_area += growing * late + growth * growing * (staying + tokens - 1) / 2
            self._lag = max(self._lag, late + (tokens - 1) * growth)
        self.delivered_tokens += tokens
        self._last = last

    def qoe(self) -> float:
        """QoE if the request ends with the tokens delivered so far; 0 at n = 0."""
        return _qoe(self.delivered_tokens, self._delay_area, self._pace)

    def andes_qoe(self) -> float:
        """Andes' own QoE (v2, equation 3) of the tokens delivered so far; 0 at n = 0, 1/(1 + p·delay) at n = 1."""
        n = self.delivered_tokens
        # Σ (A_n - I_i) with A_n = I_n + lag.
        return _andes_qoe(n, self._delay_area, n * self._lag + n * (n - 1) / 2 / self._pace, self._pace)

    def mean_delay(self) -> float:
        """δ in seconds of the tokens delivered so far; infinite at n = 0."""
        return self._delay_area / self.delivered_tokens if self.delivered_tokens else math.inf

    def score(self) -> QoEScore:
        """All scores if the request ends with the tokens delivered so far."""
        return QoEScore(
            delivered_tokens=self.delivered_tokens,
            qoe=self.qoe(),
            andes_qoe=self.andes_qoe(),
            mean_delay=self.mean_delay(),
        )

    def open_qoe(self, now: float, *, length: int | None = None) -> float:
        """QoE of the request if it is still open `now` seconds after arrival; 1 before τ0.

        Tokens that are due by `now` but not delivered count as late since their due time, over m = max(n, due) tokens.
        With a known `length`, at most `length` tokens are ever due. The result equals `qoe()` while no due token is
        missing: so always at the end of an answer of known length. Where the length was unknown, the score of a late
        request jumps at its end, because some tokens that counted as due do not exist.
        Raises ValueError when `now` is before the last delivery, or `length` is below the tokens delivered.
        """
        tokens, delay_area = self._open(now, length)
        return _qoe(tokens, delay_area, self._pace) if tokens else 1.0

    def open_andes_qoe(self, now: float, *, length: int | None = None) -> float:
        """Andes' own QoE if the due tokens came `now` seconds after arrival; 1 before τ0. Raises as `open_qoe`."""
        tokens, delay_area = self._open(now, length)
        if not tokens:
            return 1.0
        n = self.delivered_tokens
        if tokens == n:
            return self.andes_qoe()
        end = max(now, self._expected_ttft + (n - 1) / self._pace + self._lag) if n else now
        whole_area = tokens * (end - self._expected_ttft) - tokens * (tokens - 1) / 2 / self._pace
        return _andes_qoe(tokens, delay_area, whole_area, self._pace)

    def open_mean_delay(self, now: float, *, length: int | None = None) -> float:
        """Mean delay in seconds of the tokens delivered or due by `now`; 0 before τ0. Raises as `open_qoe`."""
        tokens, delay_area = self._open(now, length)
        return delay_area / tokens if tokens else 0.0

    def _open(self, now: float, length: int | None) -> tuple[int, float]:
        """m and S_delay(now) of the open request."""
        if not self._last <= now <= MAX_SECONDS:
            raise time_error("now", now, last=self._last)
        n = self.delivered_tokens
        due = due_tokens(now, expected_ttft=self._expected_ttft, pace=self._pace)
        if length is not None:
            if length < n:
                raise ValueError(f"length must be at least the {n} tokens delivered, got {length}")
            due = min(due, length)
        if due <= n:
            return n, self._delay_area
        missing = due - n
        # Σ over n < i <= due of (now - I_i): an arithmetic series.
        late = missing * (now - self._expected_ttft) - missing * (n + due - 1) / 2 / self._pace
        return due, self._delay_area + max(0.0, late)


def due_tokens(now: float, *, expected_ttft: float, pace: float) -> int:
    """Number of tokens that the user expects to have by `now` seconds after arrival: the i with I_i <= now."""
    if now < expected_ttft:
        return 0
    due = int((now - expected_ttft) * pace) + 1
    # The product may be off by one rounding step at a due time; I_i <= now decides.
    if expected_ttft + due / pace <= now:
        due += 1
    elif expected_ttft + (due - 1) / pace > now:
        due -= 1
    return due


def score_timeline(delivery: ArrayLike, *, expected_ttft: float, pace: float) -> QoEScore:
    """The scores of an ended request from its recorded timeline, vectorised.

    `delivery`: shape (n,), seconds since arrival at which each token was delivered, ascending; n = 0 is a request that
    was never served. Raises ValueError naming the field, and in `delivery` the first index that is wrong.
    """
    check_expectation(expected_ttft=expected_ttft, pace=pace)
    times = check_delivery(delivery)
    n = times.size
    if n == 0:
        return QoEScore(delivered_tokens=0, qoe=0.0, andes_qoe=0.0, mean_delay=math.inf)
    ideal = expected_ttft + np.arange(n) / pace
    lags = np.maximum(np.maximum.accumulate(times - ideal), 0.0)
    delay_area = float(lags.sum())
    whole_area = n * float(lags[-1]) + n * (n - 1) / 2 / pace
    return QoEScore(
        delivered_tokens=n,
        qoe=_qoe(n, delay_area, pace),
        andes_qoe=_andes_qoe(n, delay_area, whole_area, pace),
        mean_delay=delay_area / n,
    )


def score_whole(tokens: int, *, at: float, expected_ttft: float, pace: float) -> QoEScore:
    """The scores of an answer of `tokens` tokens that did not stream and came `at` seconds after arrival.

    The user cannot read before the end, so the answer is due at I_n and late as a whole by δ = max(0, at - I_n).
    QoE = S_read / (S_read + n δ), the QoE of a stream with the timeline I_i + δ.
    Raises ValueError naming the field.
    """
    check_expectation(expected_ttft=expected_ttft, pace=pace)
    if tokens < 0:
        raise ValueError(f"tokens must be >= 0, got {tokens}")
    if not 0 <= at <= MAX_SECONDS:
        raise time_error("at", at, last=0.0)
    if not tokens:
        return QoEScore(delivered_tokens=0, qoe=0.0, andes_qoe=0.0, mean_delay=math.inf)
    delay = max(0.0, at - last_due(tokens, expected_ttft=expected_ttft, pace=pace))
    whole_area = tokens * delay + tokens * (tokens - 1) / 2 / pace
    return QoEScore(
        delivered_tokens=tokens,
        qoe=_qoe(tokens, tokens * delay, pace),
        andes_qoe=_andes_qoe(tokens, tokens * delay, whole_area, pace),
        mean_delay=delay,
    )


def open_whole(now: float, *, length: int, expected_ttft: float, pace: float) -> QoEScore:
    """The scores of an open answer that does not stream: `length` (>= 1) is its expected length, tokens.

    Scored as an open stream whose tokens were all in time until I_n of this length: 1 until then; later due tokens are
    late.
    """
    stream = QoEState(expected_ttft=expected_ttft, pace=pace)
    stream.deliver(0.0, length)
    return QoEScore(
        delivered_tokens=0,
        qoe=stream.open_qoe(now),
        andes_qoe=stream.open_andes_qoe(now),
        mean_delay=stream.open_mean_delay(now),
    )


def last_due(tokens: int, *, expected_ttft: float, pace: float) -> float:
    """I_n of an answer of `tokens` (>= 1) tokens: seconds from arrival until the last token is due."""
    return expected_ttft + (tokens - 1) / pace


def is_good(*, qoe: float, mean_delay: float, objective: float, tolerated_delay: float) -> bool:
    """Whether a request is good: QoE >= `objective`, or a mean delay (s) that users do not notice.

    `tolerated_delay` 0 switches the second way off. Without `tolerated_delay`, a mean delay of 60 ms would make a
    ten-token answer miss 0.95.
    """
    return qoe >= objective or (tolerated_delay > 0 and mean_delay <= tolerated_delay)


def request_deficit(
    *, qoe: float, mean_delay: float, objective: float, tolerated_delay: float, target: float | None = None
) -> float:
    """The deficit: 0 if the request is good, else max(0, target - QoE). `target` is the objective when not given."""
    if is_good(qoe=qoe, mean_delay=mean_delay, objective=objective, tolerated_delay=tolerated_delay):
        return 0.0
    return max(0.0, (objective if target is None else target) - qoe)


def check_expectation(*, expected_ttft: float, pace: float) -> None:
    """Raises ValueError naming the field unless `expected_ttft` (s) is >= 0 and `pace` (tokens/s) > 0, both finite."""
    if not 0 <= expected_ttft <= MAX_SECONDS:
        raise ValueError(f"expected_ttft must be seconds from 0 to {MAX_SECONDS:g}, got {expected_ttft}")
    if not 0 < pace <= MAX_PACE:
        raise ValueError(f"pace must be tokens/s > 0 and at most {MAX_PACE:g}, got {pace} (batch requests have no QoE)")


def time_error(field: str, value: float, *, last: float) -> ValueError:
    """The error for a time that is not seconds since arrival, or is before the `last` delivery."""
    return ValueError(
        f"{field} must be seconds since arrival, at most {MAX_SECONDS:g} and not before the last delivery ({last}), "
        f"got {value}"
    )


def delivery_error(*, at: float, tokens: int, last: float) -> ValueError:
    """The error for a delivery of `tokens` tokens at `at`, after one at `last`; names the wrong field."""
    if tokens < 1:
        return ValueError(f"tokens must be >= 1, got {tokens}")
    return time_error("at", at, last=last)


def check_delivery(delivery: ArrayLike) -> NDArray[np.float64]:
    """`delivery` as an array of shape (n,). Raises ValueError naming the first index that is wrong."""
    times = np.asarray(delivery, dtype=np.float64)
    if times.ndim != 1:
        raise ValueError(f"delivery must have one dimension, got shape {times.shape}")
    for bad, why in (
        (
            ~((times >= 0) & (times <= MAX_SECONDS)),
            f"must be finite seconds >= 0 since arrival, at most {MAX_SECONDS:g}",
        ),
        (np.diff(times, prepend=-math.inf) < 0, "must ascend: it comes before the token that precedes it"),
    ):
        if bad.any():
            index = int(np.argmax(bad))
            raise ValueError(f"delivery[{index}] {why}, got {times[index]}")
    return times


def _qoe(tokens: int, delay_area: float, pace: float) -> float:
    if tokens == 0:
        return 0.0
    # Both areas are multiplied by p: no overflow at a tiny pace.
    reading = tokens * (tokens + 1) / 2
    return reading / (reading + delay_area * pace)


def _andes_qoe(tokens: int, delay_area: float, whole_area: float, pace: float) -> float:
    if tokens == 0:
        return 0.0
    if delay_area <= 0:
        return 1.0
    if tokens == 1:
        return 1.0 / (1.0 + delay_area * pace)
    return min(1.0, max(0.0, 1.0 - delay_area / whole_area))
