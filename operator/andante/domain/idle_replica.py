"""What an idle replica of the same kind would give a request: the part of its waiting that no further replica relieves.

    prefill   ceil(uncached / chunk) steps and the time of each uncached prompt token
    decoding  one step a token, of the request's own sequences alone; with speculative decoding, one for several tokens
    first visible token at  prefill + hidden tokens · step / tokens of a step,  the others step / tokens of a step apart

The coefficients are those of the fitted step time (`andante.domain.scheduling.latency`).
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
    """Why a request is late on an idle replica."""

    REASONING = "reasoning"
    """Hidden tokens come before the first visible one."""
    PROMPT = "prompt"
    """The prompt takes longer than the first token may."""
    PACE = "pace"
    """The engine decodes more slowly than the class reads."""
    EMPTY = "empty"
    """The answer ended without a token."""


class IdleTimeline(NamedTuple):
    """When the tokens of one request would come, alone on a replica. Seconds, finite, >= 0."""

    prefill: float
    """From arrival to the first token."""
    hidden: float
    """From there to the first visible one."""
    step: float
    """From each visible token to the next; > 0."""

    @property
    def first(self) -> float:
        """When the first visible token comes, seconds after arrival."""
        return min(self.prefill + self.hidden, MAX_SECONDS)

    def at(self, token: int) -> float:
        """When visible token number `token` (from 1) comes, seconds after arrival."""
        return min(self.first + (token - 1) * self.step, MAX_SECONDS)

    def tokens_by(self, now: float, *, most: int) -> int:
        """Visible tokens there `now` seconds after arrival, of `most` at most."""
        if now < self.first or most < 1:
            return 0
        return min(most, int((now - self.first) / self.step) + 1)

    def reason(self, *, tokens: int, pace: float, hidden_tokens: int) -> IdleReason:
        """What delays a request with so many visible and hidden tokens most."""
        if not tokens:
            return IdleReason.REASONING if hidden_tokens else IdleReason.EMPTY
        behind = (tokens - 1) * max(0.0, self.step - 1 / pace) if pace > 0 else (tokens - 1) * self.step
        longest = max(self.hidden, self.prefill, behind)
        if longest == self.hidden and self.hidden > 0:
            return IdleReason.REASONING
        return IdleReason.PROMPT if longest == self.prefill else IdleReason.PACE


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleReplica:
    """The step time of an engine that serves one request alone. Seconds; what is not finite or below 0 counts as 0."""

    base: float
    prefill_token: float
    sequence: float
    context_token: float
    chunk: int = 8192
    """Prompt tokens of one step at most; >= 1."""
    tokens_per_step: float = 1.0
    """Tokens that a step brings a sequence, mean; what is below 1 counts as 1."""

    @classmethod
    def from_profile(cls, coefficients: StepTimeCoefficients) -> Self:
        """Below the crossover, where a step takes what reading the weights takes."""
        return cls(
            base=1e-6 * (coefficients.fixed_us + coefficients.weight_floor_us),
            prefill_token=1e-6 * coefficients.token_us,
            sequence=1e-6 * coefficients.decode_seq_us,
            context_token=1e-6 * coefficients.context_token_us,
        )

    def timeline(
        self, *, prompt_tokens: int, cached_tokens: int, hidden_tokens: int, visible_tokens: int, sequences: int
    ) -> IdleTimeline:
        """Of a request whose prompt has `prompt_tokens`, `cached_tokens` of them in a cache.

        It is written as `sequences` (>= 1) sequences side by side, of `visible_tokens` each; `hidden_tokens` are those
        of all of them. Hidden tokens are taken to come before the visible ones.
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
"""Where neither a fit nor a profile is known: what the scheduler's fit starts from."""


def _sane(value: float) -> float:
    return value if 0 <= value <= MAX_SECONDS else 0.0
