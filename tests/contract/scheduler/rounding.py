"""Distinguishes rounding from a wrong KV cache.

On some processors a product in bfloat16 depends on the batch's shape. So a request that shares its steps with others
may get another answer than alone, without a fault. The effect of the shape is small and can be measured; with another
request's KV, the difference is large. So the model reads every answer again, alone and in one step, and the
log-probabilities of each place are compared with those of the first time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Rivals = Mapping[int, float]
"""Log-probabilities of the likeliest tokens at one place, and of the one that was said."""

ALLOWANCE = 2.0
"""A difference up to this multiple of the worst measured rounding counts as rounding, as the worst is of a sample."""
UNIT_ROUNDOFF = {"float32": 2.0**-24, "bfloat16": 2.0**-8}
"""The largest relative error of one rounding."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one prompt, with the log-probabilities of each place."""

    tokens: tuple[int, ...]
    said_under: tuple[Rivals, ...]
    read_under: tuple[Rivals, ...]
    """Log-probabilities of the same places, when the model reads prompt and answer again, alone."""

    def deviations(self) -> list[float]:
        """The difference at each place: the largest one of a token that both have.

        Infinite where the second time does not have the chosen token among its likeliest: it is impossible there.
        """
        return [_difference(*place) for place in zip(self.tokens, self.said_under, self.read_under, strict=True)]


def rounding(undisturbed: Sequence[Answer], *, dtype: str) -> float:
    """The largest deviation by rounding alone, from answers with a right KV cache.

    At least the rounding of one number: the shape may make a difference to others, even if it made none to these.
    """
    measured = max(max(answer.deviations()) for answer in undisturbed)
    largest = max(abs(known) for answer in undisturbed for place in answer.said_under for known in place.values())
    return ALLOWANCE * max(measured, UNIT_ROUNDOFF[dtype] * largest)


def disturbed(answers: Sequence[Answer], *, limit: float) -> list[str]:
    """A sentence for each answer that rounding does not explain: which answer, where, and the difference."""
    found = []
    for number, answer in enumerate(answers):
        deviations = answer.deviations()
        beyond = [place for place, deviation in enumerate(deviations) if not deviation <= limit]
        if beyond:
            found.append(
                f"answer {number}: {len(beyond)} of {len(deviations)} places are off by more than {limit:.2g}, "
                f"from place {beyond[0]} on, by {max(deviations):.2g} at worst"
            )
    return found


def first_difference(one: Answer, other: Answer) -> int | None:
    """The first place where the two answers have different tokens."""
    pairs = zip(one.tokens, other.tokens, strict=True)
    return next((place for place, (token, another) in enumerate(pairs) if token != another), None)


def margin(answer: Answer, place: int) -> float:
    """The difference of log-probability between the chosen token and the second one at that place."""
    first, second = sorted(answer.said_under[place].values(), reverse=True)[:2]
    return first - second


def _difference(token: int, one: Rivals, other: Rivals) -> float:
    if token not in one or token not in other:
        return math.inf
    return max(abs(one[rival] - other[rival]) for rival in one.keys() & other.keys())
