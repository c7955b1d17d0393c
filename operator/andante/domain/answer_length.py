"""Estimates the length of a future answer: the running mean of its class, in visible tokens."""

from __future__ import annotations

from typing import Final

FIRST_GUESS: Final = 210.0
"""Tokens, used before any answer is known: the mean of chat answers (`andante.domain.scheduling.lengths`)."""
_GUESS_WEIGHT: Final = 4.0
"""The first guess has the weight of this many answers."""
_MEMORY: Final = 200.0
"""The mean covers about this many of the newest answers."""


class AnswerLengths:
    """Running means by the name of a class."""

    __slots__ = ("_means",)

    def __init__(self) -> None:
        self._means: dict[str, tuple[float, float]] = {}

    def learn(self, qoe_class: str, tokens: int) -> None:
        """Add an ended answer of `tokens` visible tokens."""
        mean, weight = self._means.get(qoe_class, (FIRST_GUESS, _GUESS_WEIGHT))
        weight = min(weight + 1, _MEMORY)
        self._means[qoe_class] = mean + (tokens - mean) / weight, weight

    def expected(self, qoe_class: str, *, longest: int | None = None) -> float:
        """Expected visible tokens of a future answer, at least 1 and at most `longest` (its limit)."""
        mean, _ = self._means.get(qoe_class, (FIRST_GUESS, 0.0))
        return max(1.0, mean if longest is None else min(mean, longest))
