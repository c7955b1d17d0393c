"""The mean lengths of a service's requests, from its first answers on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andante.domain.scaling.capacity import Lengths, learned_lengths
from andante.domain.scaling.figures import Observed
from unit.scaling_snapshots import NOW, snapshot

TICK = 15.0


def _learned(ticks: Iterable[tuple[float, float]], *, before: Lengths | None = None) -> Lengths:
    """After ticks in which so many answers/s came and ended, of so many tokens each."""
    lengths = before
    for rate, tokens in ticks:
        told = dataclasses.replace(
            snapshot(arrivals=rate).demand,
            generated_tokens=Observed(value=rate * tokens, at=NOW),
            generated_answers=Observed(value=rate, at=NOW),
        )
        lengths = learned_lengths(lengths, told, seconds=TICK)
    assert lengths is not None
    return lengths


def test_a_new_service_s_first_answers_count_for_no_more_than_they_are() -> None:
    """6 answers of 50 tokens, then 180 of 200: a minute later the mean is that of all."""
    lengths = _learned([(0.4, 50.0), *[(3.0, 200.0)] * 4])
    assert lengths.answer == pytest.approx(195, abs=7)


def test_what_a_service_has_told_for_long_counts_for_five_minutes() -> None:
    before = _learned([(1.0, 50.0)] * 80)
    assert before.known == pytest.approx(1.0, abs=0.03)
    after = _learned([(1.0, 200.0)] * 20, before=before)
    assert after.answer == pytest.approx(200 - 150 / 2.718, rel=0.03)


def test_tokens_of_answers_that_have_not_ended_tell_that_they_are_longer() -> None:
    """Answers of a minute and more: tokens are sent, and few answers begin or end."""
    before = _learned([(1.0, 50.0)] * 20)
    told = dataclasses.replace(
        snapshot(arrivals=1.0).demand,
        generated_tokens=Observed(value=500.0, at=NOW),
        generated_answers=Observed(value=0.5, at=NOW),
    )
    after = learned_lengths(before, told, seconds=TICK)
    assert after is not None
    assert after.answer > 1.5 * before.answer


def test_nothing_is_known_before_a_token_was_sent() -> None:
    told = dataclasses.replace(
        snapshot(arrivals=1.0).demand,
        generated_tokens=Observed(value=0.0, at=NOW),
        generated_answers=Observed(value=0.5, at=NOW),
    )
    assert learned_lengths(None, told, seconds=TICK) is None


def test_lengths_survive_a_restart_of_the_operator() -> None:
    lengths = _learned([(0.4, 50.0), (3.0, 200.0)])
    assert Lengths.from_state(lengths.to_state()) == lengths


@given(st.lists(st.tuples(st.floats(0.01, 1e4), st.floats(1, 1e5)), min_size=1, max_size=60))
def test_a_mean_lies_between_the_shortest_and_the_longest(ticks: list[tuple[float, float]]) -> None:
    lengths = _learned(ticks)
    shortest, longest = min(tokens for _, tokens in ticks), max(tokens for _, tokens in ticks)
    assert 0.999 * shortest <= lengths.answer <= 1.001 * longest
    assert 0.99 * min(rate for rate, _ in ticks) <= lengths.rate <= 1.01 * max(rate for rate, _ in ticks)
    assert 0 < lengths.known <= 1
