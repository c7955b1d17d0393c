"""Mean length of a class's answers in visible tokens: what an answer that has not come yet is taken for."""

from __future__ import annotations

from typing import Final

FIRST_GUESS: Final = 210.0
"""Tokens; the mean of a chat's answers (`andante.domain.scheduling.lengths`), before any answer is known."""
_GUESS_WEIGHT: Final = 4.0
"""The guess counts as much as that many answers."""
_MEMORY: Final = 200.0
"""Answers that the mean remembers."""


class AnswerLengths:
    """Running means by the name of a class."""

    __slots__ = ("_means",)

    def __init__(self) -> None:
        self._means: dict[str, tuple[float, float]] = {}

    def learn(self, qoe_class: str, tokens: int) -> None:
        """An answer of `tokens` visible tokens came to its end."""
        mean, weight = self._means.get(qoe_class, (FIRST_GUESS, _GUESS_WEIGHT))
        weight = min(weight + 1, _MEMORY)
        self._means[qoe_class] = mean + (tokens - mean) / weight, weight

    def expected(self, qoe_class: str, *, longest: int | None = None) -> float:
        """Visible tokens of an answer to come, at least 1 and at most `longest`, which it may have."""
        mean, _ = self._means.get(qoe_class, (FIRST_GUESS, 0.0))
        return max(1.0, mean if longest is None else min(mean, longest))
