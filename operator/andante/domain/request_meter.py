"""Computes all measures of one request in one object. The engine, the load generator and the simulator share it.

The meter handles the three kinds of expectation (`andante.domain.pace.Expectation`): a reader's pace, a program's
deadline, and batch work without QoE; and six ways to end. Times are seconds since the request was received.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from andante.domain.fluidity import FluidityState, LatencyState
from andante.domain.goodput import Origin, SmoothGoodputState
from andante.domain.idle_replica import IdleTimeline
from andante.domain.pace import MAX_SECONDS, Expectation
from andante.domain.qoe import (
    QoEScore,
    QoEState,
    due_tokens,
    is_good,
    last_due,
    open_whole,
    request_deficit,
    score_whole,
    time_error,
)


class Outcome(StrEnum):
    """How a request ended (label `outcome` of `andante_requests_total`)."""

    COMPLETED = "completed"
    ABORTED = "aborted"
    """The client left."""
    GAVE_UP = "gave_up"
    """The client left after a long wait with nothing left to read."""
    FAILED = "failed"
    REJECTED = "rejected"
    DRAINED = "drained"
    """Cut by shutdown."""

    @property
    def cut_by_server(self) -> bool:
        """Whether the server caused the missing answer."""
        return self in (Outcome.FAILED, Outcome.REJECTED, Outcome.DRAINED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What makes a request good."""

    qoe: float = 0.95
    """QoE to reach, in (0, 1]."""
    tolerated_delay: float = 0.2
    """Mean delay in seconds that users do not notice; 0 switches it off."""

    gave_up_after: float = 2.0
    """A client gave up if it leaves after more than this many seconds with nothing left to read."""

    def __post_init__(self) -> None:
        if not 0 <= self.gave_up_after <= MAX_SECONDS:
            raise ValueError(f"gave_up_after must be seconds from 0 to {MAX_SECONDS:g}, got {self.gave_up_after}")
        if not 0 < self.qoe <= 1:
            raise ValueError(f"objective must be in (0, 1], got {self.qoe}")
        if not 0 <= self.tolerated_delay <= MAX_SECONDS:
            raise ValueError(f"tolerated_delay must be seconds from 0 to {MAX_SECONDS:g}, got {self.tolerated_delay}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestScore:
    """Every measure of one request, ended or open. None: the request has no such measure."""

    tokens: int
    """n: visible tokens delivered."""
    qoe: float | None
    """In [0, 1]; None for batch."""
    andes_qoe: float | None
    """Andes' own QoE in [0, 1]; equal to `qoe` for a deadline, None for batch."""
    mean_delay: float | None
    """δ in seconds; infinite where the user got no promised token (do not sum); None for batch."""
    good: bool | None
    """QoE >= objective, or a mean delay that users do not notice; None for batch."""
    deficit: float | None
    """0 if good, else objective - QoE; None for batch."""
    idle_latency: float
    """l in seconds; 0 for batch."""
    idle_penalty: float
    """α·f(l) in tokens, with f(l) = l; 0 for batch."""
    ttft: float | None
    """Seconds to the first visible token."""
    tpot: float | None
    """Seconds per output token after the first."""
    max_tbt: float | None
    """Longest time between two tokens, seconds."""
    fluidity: float | None
    """Fluidity index in [0, 1]; None unless asked for, for batch, and when nothing was delivered."""

    @property
    def benefit(self) -> float:
        """n - α·f(l), tokens: the request's share of smooth goodput."""
        return self.tokens - self.idle_penalty


@dataclass(frozen=True, slots=True)
class _Quality:
    qoe: float
    andes_qoe: float
    mean_delay: float

    @classmethod
    def of(cls, score: QoEScore) -> _Quality:
        return cls(score.qoe, score.andes_qoe, score.mean_delay)

    @classmethod
    def of_open(cls, state: QoEState, now: float) -> _Quality:
        return cls(state.open_qoe(now), state.open_andes_qoe(now), state.open_mean_delay(now))


_NOTHING = _Quality(0.0, 0.0, math.inf)


class RequestMeter:
    """Measures one request while its tokens arrive. O(1) time and memory per delivery; has no clock."""

    __slots__ = (
        "_alpha", "_expectation", "_expected_tokens", "_fluidity", "_idle", "_last", "_latency", "_objective", "_qoe",
        "_whole",
    )  # fmt: skip

    def __init__(
        self,
        *,
        expectation: Expectation,
        objective: Objective = Objective(),
        alpha: float | None = None,
        origin: Origin = Origin.ARRIVAL,
        fluidity: bool = False,
    ) -> None:
        """`alpha` (tokens/s, default the pace) and `origin`: of smooth goodput. `fluidity`: also count this index.

        Raises ValueError when `alpha` is negative or not finite.
        """
        self._alpha = expectation.pace if alpha is None else alpha
        if not 0 <= self._alpha < math.inf:
            raise ValueError(f"alpha must be finite tokens/s >= 0, got {alpha}")
        self._expectation = expectation
        self._objective = objective
        self._latency = LatencyState()
        self._last = 0.0
        self._whole = False
        self._expected_tokens = 1
        self._qoe: QoEState | None = None
        self._idle: SmoothGoodputState | None = None
        self._fluidity: FluidityState | None = None
        if expectation.deadline is None and expectation.pace > 0:
            ttft, pace = expectation.expected_ttft, expectation.pace
            self._qoe = QoEState(expected_ttft=ttft, pace=pace)
            self._idle = SmoothGoodputState(expected_ttft=ttft, pace=pace, origin=origin)
            if fluidity:
                self._fluidity = FluidityState(expected_ttft=ttft, pace=pace)

    @property
    def expectation(self) -> Expectation:
        """What this request's user expects."""
        return self._expectation

    @property
    def delivered_tokens(self) -> int:
        """n: visible tokens delivered so far."""
        return self._latency.delivered_tokens

    def deliver(self, at: float, tokens: int = 1) -> None:
        """Count `tokens` visible tokens handed to the client's connection together, `at` seconds after arrival.

        Raises ValueError when `at` is negative, not finite, or before an earlier delivery, or when `tokens` < 1.
        """
        self.deliver_all((at,), (tokens,))

    def deliver_all(self, times: Sequence[float], tokens: Sequence[int]) -> None:
        """As `deliver` for each of `times` (s) with its number of `tokens`; for 64 at once a quarter of the cost."""
        if not times:
            return
        self._latency.deliver_all(times, tokens)
        self._last = times[-1]
        if self._qoe is not None and self._idle is not None:
            self._qoe.deliver_all(times, tokens)
            self._idle.deliver_all(times, tokens)
        if self._fluidity is not None:
            for at, count in zip(times, tokens, strict=True):
                self._fluidity.deliver(at, count)

    def expect_tokens(self, tokens: float) -> None:
        """Set the expected length in tokens while the real length is unknown; below 1 counts as 1.

        The length matters where an answer is due as a whole: for a program, or because it does not stream.
        """
        self._expected_tokens = max(1, round(min(tokens, MAX_SECONDS)))

    def comes_whole(self) -> None:
        """Note that the answer does not stream: the user gets it all at the end (`andante.domain.qoe.score_whole`)."""
        self._whole = True

    def comes_as_stream(self) -> None:
        """Note that the answer streams. This is the default."""
        self._whole = False

    def ended(self, outcome: Outcome, *, at: float) -> RequestScore:
        """The score of the request that ended `at` seconds after arrival.

        * completed: the QoE of the delivered tokens; 0 without any token.
        * aborted (the client left): the QoE until then; due and undelivered tokens count as late (the open form). 0
          when no token had come although one was due.
        * gave up (the client left after a wait; see `left`): QoE 0, as if the server had cut the request. Otherwise a
          reader who leaves in a stall, the worst outcome, would count with nearly full QoE.
        * cut by the server (failed, rejected, drained): QoE 0 and never good, whatever was delivered. Only 0 is not
          above the QoE of any answer that the server still owed: shedding requests must never look like quality.
        The idle latency of a request that did not complete includes the wait for the next token until `at`. For a cut
        request pass the end of the measurement as `at`, where it is known: the user still waits.
        Raises ValueError when `at` is before the last delivery.
        """
        outcome = Outcome(outcome)
        self._check_now("at", at)
        if outcome is Outcome.COMPLETED:
            quality = self._completed_quality()
            idle = self._idle_latency(at, still_waiting=self.delivered_tokens == 0)
        elif outcome is Outcome.ABORTED:
            quality = self._aborted_quality(at)
            idle = self._idle_latency(at, still_waiting=True)
        else:
            quality = _NOTHING
            idle = self._idle_latency(at, still_waiting=True)
        return self._score(quality, idle)

    def left(self, at: float) -> Outcome:
        """The outcome of a request whose client left `at` seconds after arrival: aborted or gave up.

        A client that still has text to read does not give up: the wait starts when all delivered tokens have been read
        or, before the first token, when the first token was due. Raises ValueError when `at` is before the last
        delivery.
        """
        self._check_now("at", at)
        dry = self._dry_since()
        return Outcome.GAVE_UP if dry is not None and at - dry > self._objective.gave_up_after else Outcome.ABORTED

    def _dry_since(self) -> float | None:
        if self._qoe is None:
            return self._expectation.deadline
        if self._whole and not self.delivered_tokens:
            ttft, pace = self._expectation.expected_ttft, self._expectation.pace
            return last_due(self._expected_tokens, expected_ttft=ttft, pace=pace)
        return self._qoe.dry_since

    def idle_deficit(self, idle: IdleTimeline, outcome: Outcome | None, *, at: float) -> float:
        """The deficit with the tokens of timeline `idle`, for a request that ended with `outcome` or is open (None).

        For an incomplete answer, tokens that came or were due by `at` count. Raises ValueError when `at` is before the
        last delivery.
        """
        self._check_now("at", at)
        if not self._expectation.counts_in_qoe:
            return 0.0
        wanted = self._expectation
        late = wanted.deadline is not None or idle.first > wanted.expected_ttft or idle.step * wanted.pace > 1
        if not late and (outcome is not Outcome.COMPLETED or self.delivered_tokens):
            return 0.0  # no token would be late: the usual case, and it must be fast for 10,000 requests in flight
        return self._deficit(self._idle_quality(idle, outcome, at))

    def idle_penalty(self, idle: IdleTimeline, outcome: Outcome | None, *, at: float) -> float:
        """α·f(l) in tokens with the tokens of timeline `idle`; otherwise as `idle_deficit`."""
        self._check_now("at", at)
        wanted, n = self._expectation, self.delivered_tokens
        if not wanted.counts_in_qoe:
            return 0.0
        ttft, pace = wanted.expected_ttft, wanted.pace
        complete = outcome is Outcome.COMPLETED and n > 0
        until = math.inf if complete else at
        if wanted.deadline is not None or self._whole:
            tokens = n if complete or (n and self._whole) else max(n, self._expected_tokens)
            due = last_due(tokens, expected_ttft=ttft, pace=pace) if wanted.deadline is None else wanted.deadline
            return self._alpha * max(0.0, min(idle.at(tokens), until) - due)
        tokens = n if complete else max(1, n, due_tokens(at, expected_ttft=ttft, pace=pace))
        # The delay behind the deadline is linear in the token's number, so the first or the last token is the worst.
        first, last = (min(idle.at(token), until) - (ttft + token / pace) for token in (1, tokens))
        return self._alpha * max(0.0, first, last)

    def _idle_quality(self, idle: IdleTimeline, outcome: Outcome | None, at: float) -> _Quality:
        wanted, n = self._expectation, self.delivered_tokens
        ttft, pace = wanted.expected_ttft, wanted.pace
        complete = outcome is Outcome.COMPLETED
        if complete and not n:
            return _NOTHING
        if wanted.deadline is not None or self._whole:
            tokens = n if complete or (n and self._whole) else max(n, self._expected_tokens)
            finished = idle.at(tokens)
            there = complete or finished <= at
            if wanted.deadline is not None:
                return self._deadline_quality(finished if there else at)
            if there:
                return _Quality.of(score_whole(tokens, at=finished, expected_ttft=ttft, pace=pace))
            if outcome is Outcome.GAVE_UP:
                return _NOTHING
            quality = _Quality.of(open_whole(at, length=tokens, expected_ttft=ttft, pace=pace))
            return _NOTHING if outcome is Outcome.ABORTED and quality.mean_delay > 0 else quality
        state = QoEState(expected_ttft=ttft, pace=pace)
        due = n if complete else max(n, due_tokens(at, expected_ttft=ttft, pace=pace))
        tokens = n if complete else idle.tokens_by(at, most=due)
        if tokens:
            state.deliver_evenly(idle.first, idle.step, min(tokens, idle.tokens_by(MAX_SECONDS, most=tokens)))
        if complete:
            return _Quality.of(state.score())
        if outcome is Outcome.GAVE_UP and at - state.dry_since > self._objective.gave_up_after:
            return _NOTHING
        quality = _Quality.of_open(state, at)
        return _NOTHING if outcome is Outcome.ABORTED and not tokens and quality.mean_delay > 0 else quality

    def _deficit(self, quality: _Quality) -> float:
        return request_deficit(
            qoe=quality.qoe,
            mean_delay=quality.mean_delay,
            objective=self._objective.qoe,
            tolerated_delay=self._objective.tolerated_delay,
        )

    def open(self, now: float) -> RequestScore:
        """The score of the request that is still open `now` seconds after arrival, its length unknown.

        Raises ValueError when `now` is before the last delivery.
        """
        self._check_now("now", now)
        return self._score(self._open_quality(now), self._idle_latency(now, still_waiting=True))

    def _completed_quality(self) -> _Quality:
        if self._qoe is not None:
            return self._whole_quality() if self._whole else _Quality.of(self._qoe.score())
        if self.delivered_tokens == 0:
            return _NOTHING
        return self._deadline_quality(self._last)

    def _aborted_quality(self, at: float) -> _Quality:
        quality = self._open_quality(at)
        if self.delivered_tokens == 0 and quality.mean_delay > 0:
            return _Quality(0.0, 0.0, quality.mean_delay)
        return quality

    def _whole_quality(self) -> _Quality:
        wanted = self._expectation
        ttft, pace = wanted.expected_ttft, wanted.pace
        return _Quality.of(score_whole(self.delivered_tokens, at=self._last, expected_ttft=ttft, pace=pace))

    def _open_quality(self, now: float) -> _Quality:
        if self._qoe is not None and self._whole:
            if self.delivered_tokens:
                return self._whole_quality()
            ttft, pace = self._expectation.expected_ttft, self._expectation.pace
            return _Quality.of(open_whole(now, length=self._expected_tokens, expected_ttft=ttft, pace=pace))
        if self._qoe is not None:
            return _Quality.of_open(self._qoe, now)
        return self._deadline_quality(now)

    def _deadline_quality(self, finished: float) -> _Quality:
        late = max(0.0, finished - self._expectation.deadline) if self._expectation.deadline is not None else 0.0
        met = 0.0 if late > 0 else 1.0
        return _Quality(met, met, late)

    def _idle_latency(self, now: float, *, still_waiting: bool) -> float:
        if self._idle is not None and self._whole:
            # The whole answer has one deadline, so its delay is the idle latency.
            delivered = self.delivered_tokens
            due = last_due(
                delivered or self._expected_tokens,
                expected_ttft=self._expectation.expected_ttft,
                pace=self._expectation.pace,
            )
            return max(0.0, (self._last if delivered else now) - due)
        if self._idle is not None:
            return self._idle.open_idle_latency(now) if still_waiting else self._idle.idle_latency()
        if self._expectation.deadline is None:
            return 0.0
        # A program waits for the whole answer: all tokens have the same deadline.
        return max(0.0, (now if still_waiting else self._last) - self._expectation.deadline)

    def _score(self, quality: _Quality, idle: float) -> RequestScore:
        latency = self._latency.score()
        counts = self._expectation.counts_in_qoe
        good = counts and is_good(
            qoe=quality.qoe,
            mean_delay=quality.mean_delay,
            objective=self._objective.qoe,
            tolerated_delay=self._objective.tolerated_delay,
        )
        deficit = self._deficit(quality)
        return RequestScore(
            tokens=self.delivered_tokens,
            qoe=quality.qoe if counts else None,
            andes_qoe=quality.andes_qoe if counts else None,
            mean_delay=quality.mean_delay if counts else None,
            good=good if counts else None,
            deficit=deficit if counts else None,
            idle_latency=idle,
            idle_penalty=self._alpha * idle,
            ttft=latency.ttft,
            tpot=latency.tpot,
            max_tbt=latency.max_tbt,
            fluidity=self._fluidity.index() if self._fluidity is not None else None,
        )

    def _check_now(self, field: str, value: float) -> None:
        if not self._last <= value <= MAX_SECONDS:
            raise time_error(field, value, last=self._last)
