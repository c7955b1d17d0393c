"""Tells rounding from a disturbed KV cache.

A product in bfloat16 depends on the batch's shape on some processors, so a request that shares its steps with others
may say something else than it says alone, and nothing is wrong with it. What shape does is small, though, and can be
measured; a request that went on from somebody else's KV is far off. So every answer is read again by the model, alone
and in one go, and each place's log-probabilities are compared with those under which it was said.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Rivals = Mapping[int, float]
"""Log-probabilities of the likeliest tokens at one place, and of the one that was said."""

ALLOWANCE = 2.0
"""How many times the worst rounding that was measured still counts as rounding: each is the worst of a sample."""
UNIT_ROUNDOFF = {"float32": 2.0**-24, "bfloat16": 2.0**-8}
"""The largest relative error of one rounding."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was said to one prompt, and under which log-probabilities, place by place."""

    tokens: tuple[int, ...]
    said_under: tuple[Rivals, ...]
    read_under: tuple[Rivals, ...]
    """Of the same places, when the model reads prompt and answer again, alone."""

    def deviations(self) -> list[float]:
        """By how much the two differ at each place: the largest difference of a token that both know.

        Infinite where what was said is not among what the other knows: nobody could say it there.
        """
        return [_difference(*place) for place in zip(self.tokens, self.said_under, self.read_under, strict=True)]


def rounding(undisturbed: Sequence[Answer], *, dtype: str) -> float:
    """The largest deviation that rounding alone may make, after answers of which none was disturbed.

    Where shape made no difference to those, it may still make one to others, of as much as a number can be rounded by.
    """
    measured = max(max(answer.deviations()) for answer in undisturbed)
    largest = max(abs(known) for answer in undisturbed for place in answer.said_under for known in place.values())
    return ALLOWANCE * max(measured, UNIT_ROUNDOFF[dtype] * largest)


def disturbed(answers: Sequence[Answer], *, limit: float) -> list[str]:
    """A sentence for each answer that rounding does not explain: which one, where, by how much."""
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
    """The first place where they say different tokens."""
    pairs = zip(one.tokens, other.tokens, strict=True)
    return next((place for place, (token, another) in enumerate(pairs) if token != another), None)


def margin(answer: Answer, place: int) -> float:
    """By how much the token that was said there was likelier than the second."""
    first, second = sorted(answer.said_under[place].values(), reverse=True)[:2]
    return first - second


def _difference(token: int, one: Rivals, other: Rivals) -> float:
    if token not in one or token not in other:
        return math.inf
    return max(abs(one[rival] - other[rival]) for rival in one.keys() & other.keys())
