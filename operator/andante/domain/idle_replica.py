"""Predicts a request's timeline on an idle replica of the same kind: the wait that more replicas cannot reduce.

    prefill   ceil(uncached / chunk) steps and the time of each uncached prompt token
    decoding  one step a token, of the request's own sequences alone; with speculative decoding, one for several tokens
    first visible token at  prefill + hidden tokens · step / tokens of a step,  the others step / tokens of a step apart

The coefficients come from the fitted step time (`andante.domain.scheduling.latency`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Self

from andante.domain.pace import MAX_SECONDS
from andante.domain.step_time import DEFAULT_STEP_TIME, StepTimeCoefficients

_SHORTEST_STEP = 1e-5


class IdleReason(StrEnum):
    """Why a request is late even on an idle replica."""

    REASONING = "reasoning"
    """Hidden tokens come before the first visible one."""
    PROMPT = "prompt"
    """The prefill takes longer than the expected TTFT."""
    PACE = "pace"
    """The engine decodes more slowly than the class's pace."""
    EMPTY = "empty"
    """The answer ended without a token."""
    SLOW = "slow"
    """The engine was slower than its step time says, although it served nothing else."""


class IdleTimeline(NamedTuple):
    """The times of one request's tokens, alone on a replica. Seconds, finite, >= 0."""

    prefill: float
    """From arrival to the first token."""
    hidden: float
    """From the first token to the first visible token."""
    step: float
    """From each visible token to the next; > 0."""

    @property
    def first(self) -> float:
        """Time of the first visible token, seconds after arrival."""
        return min(self.prefill + self.hidden, MAX_SECONDS)

    def at(self, token: int) -> float:
        """Time of visible token number `token` (from 1), seconds after arrival."""
        return min(self.first + (token - 1) * self.step, MAX_SECONDS)

    def tokens_by(self, now: float, *, most: int) -> int:
        """Number of visible tokens `now` seconds after arrival, at most `most`."""
        if now < self.first or most < 1:
            return 0
        return min(most, int((now - self.first) / self.step) + 1)

    def reason(self, *, tokens: int, pace: float, hidden_tokens: int) -> IdleReason:
        """The main cause of delay for a request with these numbers of visible and hidden tokens."""
        if not tokens:
            return IdleReason.REASONING if hidden_tokens else IdleReason.EMPTY
        behind = (tokens - 1) * max(0.0, self.step - 1 / pace) if pace > 0 else (tokens - 1) * self.step
        longest = max(self.hidden, self.prefill, behind)
        if longest == self.hidden and self.hidden > 0:
            return IdleReason.REASONING
        return IdleReason.PROMPT if longest == self.prefill else IdleReason.PACE


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleReplica:
    """The step time of an engine that serves one request alone. Seconds; a value below 0 or not finite counts as 0."""

    base: float
    prefill_token: float
    sequence: float
    context_token: float
    chunk: int = 8192
    """Most prompt tokens of one step; >= 1."""
    tokens_per_step: float = 1.0
    """Mean tokens per sequence and step; a value below 1 counts as 1."""

    @classmethod
    def from_profile(cls, coefficients: StepTimeCoefficients) -> Self:
        """From a profile below its crossover, where reading the weights determines the step time."""
        return cls(
            base=1e-6 * (coefficients.fixed_us + coefficients.weight_floor_us),
            prefill_token=1e-6 * coefficients.token_us,
            sequence=1e-6 * coefficients.decode_seq_us,
            context_token=1e-6 * coefficients.context_token_us,
        )

    def timeline(
        self, *, prompt_tokens: int, cached_tokens: int, hidden_tokens: int, visible_tokens: int, sequences: int
    ) -> IdleTimeline:
        """The timeline of a request with `prompt_tokens` prompt tokens, `cached_tokens` of them in a cache.

        The answer has `sequences` (>= 1) parallel sequences with `visible_tokens` each; `hidden_tokens` is the total of
        all sequences. The model assumes that hidden tokens come before the visible ones.
        """
        uncached = max(1, prompt_tokens - max(0, cached_tokens))
        hidden = hidden_tokens / sequences
        context = sequences * (prompt_tokens + hidden + visible_tokens / 2)
        base, token = _sane(self.base), _sane(self.prefill_token)
        prefill = math.ceil(uncached / max(1, self.chunk)) * base + token * uncached
        step = base + _sane(self.sequence) * sequences + _sane(self.context_token) * context
        step /= max(_sane(self.tokens_per_step), 1.0)
        step = min(max(step, _SHORTEST_STEP), MAX_SECONDS)
        return IdleTimeline(prefill=min(prefill, MAX_SECONDS), hidden=min(hidden * step, MAX_SECONDS), step=step)


START = IdleReplica(**DEFAULT_STEP_TIME._asdict())
"""Used where neither a fit nor a profile is known: the start values of the scheduler's fit."""


def _sane(value: float) -> float:
    return value if 0 <= value <= MAX_SECONDS else 0.0
