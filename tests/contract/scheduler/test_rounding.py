"""The judge that tells rounding from a disturbed KV cache, on log-probabilities written down by hand."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from contract.scheduler.rounding import Answer, Rivals, disturbed, first_difference, margin, rounding

PLACES, VOCABULARY, BEST = 60, 400, 20
BF16 = 2.0**-8
"""Half a unit in the last place, of a number between 1 and 2."""


def logits(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 4, (PLACES, VOCABULARY))


def rounded(exact: np.ndarray, seed: int) -> np.ndarray:
    """As if bfloat16 had rounded another way: each logit off by up to a unit in its last place."""
    return exact * (1 + np.random.default_rng(seed).uniform(-2 * BF16, 2 * BF16, exact.shape))


def rivals(place: np.ndarray, said: int) -> Rivals:
    known = place - math.log(np.exp(place).sum())
    return {token: float(known[token]) for token in {*np.argsort(-place)[:BEST].tolist(), said}}


def answer(said: np.ndarray, read: np.ndarray) -> Answer:
    tokens = tuple(said.argmax(axis=1).tolist())
    return Answer(
        tokens=tokens,
        said_under=tuple(map(rivals, said, tokens)),
        read_under=tuple(map(rivals, read, tokens)),
    )


def undisturbed(seeds: range) -> list[Answer]:
    return [answer(rounded(logits(seed), seed + 1000), rounded(logits(seed), seed + 2000)) for seed in seeds]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_where_no_rounding_was_seen_one_rounding_is_allowed(dtype: str) -> None:
    exact = [answer(logits(seed), logits(seed)) for seed in range(4)]
    limit = rounding(exact, dtype=dtype)
    assert 0 < limit < 0.2
    assert not disturbed(exact, limit=limit)


def test_what_is_rounding_in_bfloat16_is_a_disturbance_in_float32() -> None:
    exact = [answer(logits(seed), logits(seed)) for seed in range(4)]
    assert disturbed(undisturbed(range(1)), limit=rounding(exact, dtype="float32"))


def test_rounding_that_changes_tokens_is_no_disturbance() -> None:
    answers = undisturbed(range(100, 116))
    changed = [a.tokens != tuple(logits(100 + n).argmax(axis=1).tolist()) for n, a in enumerate(answers)]
    assert any(changed)
    assert not disturbed(answers, limit=rounding(undisturbed(range(32)), dtype="bfloat16"))


@pytest.mark.parametrize("share", [0.2, 1.0])
def test_a_place_that_was_said_of_something_else_is_a_disturbance(share: float) -> None:
    """`share` of a place's logits come from another text, as from another request's KV."""
    answers = undisturbed(range(16))
    place = random.Random(3).randrange(PLACES)  # noqa: S311
    said = rounded(logits(7), 1007)
    said[place] = (1 - share) * said[place] + share * logits(99)[place]
    answers[7] = answer(said, rounded(logits(7), 2007))
    (sentence,) = disturbed(answers, limit=rounding(undisturbed(range(200, 232)), dtype="bfloat16"))
    assert sentence.startswith(f"answer 7: 1 of {PLACES} places")
    assert f"from place {place} on" in sentence


def test_a_token_that_nobody_could_say_there_is_a_disturbance() -> None:
    known = {1: -0.1, 2: -3.0}
    unheard = Answer(tokens=(3,), said_under=({3: -0.1, 1: -2.0},), read_under=(known,))
    assert unheard.deviations() == [math.inf]
    assert disturbed([unheard], limit=1e9)


def test_the_first_token_that_differs_and_how_close_the_choice_was() -> None:
    one = Answer(tokens=(1, 2, 3), said_under=({1: -0.1}, {2: -0.7, 5: -0.8, 3: -3.0}, {3: -0.1}), read_under=())
    other = Answer(tokens=(1, 5, 3), said_under=(), read_under=())
    assert first_difference(one, one) is None
    assert first_difference(one, other) == 1
    assert margin(one, 1) == pytest.approx(0.1)
