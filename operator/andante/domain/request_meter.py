"""The score of one request, for every kind of user: readers (paced), programs (deadline) and batch.

The engine's meter, the load generator and the simulator all score requests here, so that their figures can be compared.

What an answer scores that did not complete, so that shedding never looks like quality:
* its *client* left: with what he had got by then, the tokens due and undelivered counting as late (the open form);
* the *server* refused, failed or cut it: 0, however well it had gone. Any other value would let a service raise its
  mean by cutting whoever is late.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

from andante.domain._checks import check_step
from andante.domain.goodput import IdleState
from andante.domain.pace import Expectation
from andante.domain.qoe import QoEState, is_good, request_deficit


class Outcome(enum.StrEnum):
    """How a request ended."""

    COMPLETED = "completed"
    ABORTED = "aborted"
    """The client left."""
    FAILED = "failed"
    REJECTED = "rejected"
    DRAINED = "drained"
    """Cut by the server's shutdown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What makes a request good."""

    qoe: float = 0.95
    """QoE to reach, in (0, 1]."""
    tolerated_delay: float = 0.2
    """Mean delay in seconds that nobody feels; 0 switches it off."""

    def __post_init__(self) -> None:
        if not 0 < self.qoe <= 1:
            raise ValueError(f"qoe must be in (0, 1], got {self.qoe}")
        if not (math.isfinite(self.tolerated_delay) and self.tolerated_delay >= 0):
            raise ValueError(f"tolerated_delay must be finite seconds >= 0, got {self.tolerated_delay}")


@dataclass(frozen=True, slots=True, kw_only=True)
class QoEFigures:
    """What one request adds to the service's figures; not defined for batch requests."""

    qoe: float
    andes_qoe: float
    mean_delay: float
    """Seconds; inf when nothing was delivered."""
    good: bool
    deficit: float
    idle_latency: float
    """User idle latency l in seconds."""
    idle_penalty_tokens: float
    """α·f(l) with f(l) = l and α = pace, in tokens."""


class RequestMeter:
    """Scores one request while its tokens are delivered; O(1) per token, no timeline. Times: seconds since arrival."""

    __slots__ = (
        "_first", "_idle", "_last", "_max_tbt", "_qoe", "expectation", "hidden_tokens", "objective", "visible_tokens",
    )  # fmt: skip

    def __init__(self, *, expectation: Expectation, objective: Objective) -> None:
        self.expectation = expectation
        self.objective = objective
        self.visible_tokens = 0
        """Tokens that the user can see, delivered so far."""
        self.hidden_tokens = 0
        """Reasoning tokens that were made but not shown; the user waits while they are."""
        self._first: float | None = None
        self._last = 0.0
        self._max_tbt: float | None = None
        paced = expectation.pace > 0 and expectation.deadline is None
        self._qoe = QoEState(expected_ttft=expectation.expected_ttft, pace=expectation.pace) if paced else None
        self._idle = IdleState(expected_ttft=expectation.expected_ttft, pace=expectation.pace) if paced else None

    @property
    def ttft(self) -> float | None:
        """Seconds to the first visible token; None before it."""
        return self._first

    @property
    def max_time_between_tokens(self) -> float | None:
        """Longest pause in seconds between two visible tokens; None before the second one."""
        return self._max_tbt

    @property
    def last_delivery(self) -> float | None:
        """Seconds at which the newest visible token was delivered; None before the first."""
        return self._last if self._first is not None else None

    def deliver(self, at: float, tokens: int = 1) -> None:
        """Count `tokens` visible tokens handed over together at `at`.

        Raises ValueError when `at` is not finite, negative or before the previous delivery, or `tokens` < 1.
        """
        check_step(at=at, last=self._last, tokens=tokens)
        if self._qoe is not None and self._idle is not None:
            self._qoe.deliver(at, tokens)
            self._idle.deliver(at, tokens)
        if self._first is None:
            self._first = at
            gap = 0.0 if tokens > 1 else None
        else:
            gap = at - self._last
        if gap is not None:
            self._max_tbt = gap if self._max_tbt is None else max(self._max_tbt, gap)
        self._last = at
        self.visible_tokens += tokens

    def hide(self, tokens: int) -> None:
        """Count `tokens` reasoning tokens that the user does not see."""
        self.hidden_tokens += tokens

    def ended(self, at: float, outcome: Outcome) -> QoEFigures | None:
        """The figures of the request that ended at `at` with `outcome`; None for a batch request."""
        if not self.expectation.counts_in_qoe:
            return None
        at = max(at, self._last)
        idle = self._idle_latency(at, waiting=outcome is not Outcome.COMPLETED)
        if outcome is Outcome.COMPLETED:
            return self._figures(*self._completed(at), idle=idle)
        if outcome is Outcome.ABORTED:
            return self._figures(*self._left(at), idle=idle)
        return self._figures(0.0, 0.0, math.inf, idle=idle)

    def open(self, now: float) -> QoEFigures | None:
        """The figures at `now` of the request that goes on; None for a batch request."""
        if not self.expectation.counts_in_qoe:
            return None
        now = max(now, self._last)
        return self._figures(*self._going_on(now), idle=self._idle_latency(now, waiting=True))

    def _completed(self, at: float) -> tuple[float, float, float]:
        if self._qoe is not None:
            return self._qoe.qoe(), self._qoe.andes_qoe(), self._qoe.mean_delay()
        late = self._past_deadline(at)
        return (0.0, 0.0, math.inf) if self.visible_tokens == 0 else (float(late == 0), float(late == 0), late)

    def _left(self, at: float) -> tuple[float, float, float]:
        # Nothing was owed yet to a client who left before the first token was expected.
        if self.visible_tokens == 0 and at > self.expectation.expected_ttft and self._qoe is not None:
            return 0.0, 0.0, math.inf
        return self._going_on(at)

    def _going_on(self, now: float) -> tuple[float, float, float]:
        if self._qoe is not None:
            andes = self._qoe.andes_qoe() if self.visible_tokens else self._qoe.open_qoe(now)
            return self._qoe.open_qoe(now), andes, self._qoe.open_mean_delay(now)
        late = self._past_deadline(now)
        return float(late == 0), float(late == 0), late

    def _past_deadline(self, at: float) -> float:
        return max(0.0, at - (self.expectation.deadline or math.inf))

    def _idle_latency(self, at: float, *, waiting: bool) -> float:
        if self._idle is not None:
            return self._idle.open_idle_latency(at) if waiting else self._idle.idle_latency()
        return self._past_deadline(at)

    def _figures(self, qoe: float, andes_qoe: float, mean_delay: float, *, idle: float) -> QoEFigures:
        objective, tolerated = self.objective.qoe, self.objective.tolerated_delay
        return QoEFigures(
            qoe=qoe,
            andes_qoe=andes_qoe,
            mean_delay=mean_delay,
            good=is_good(qoe=qoe, mean_delay=mean_delay, objective=objective, tolerated_delay=tolerated),
            deficit=request_deficit(qoe=qoe, mean_delay=mean_delay, objective=objective, tolerated_delay=tolerated),
            idle_latency=idle,
            idle_penalty_tokens=self.expectation.pace * idle,
        )
