"""The figures that people know, and the fluidity index."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andante.domain.fluidity import FluidityState, LatencyState, fluidity_index, latencies
from unit.strategies import gaps, paces, timelines, ttfts


def test_latency_of_an_answer() -> None:
    figures = latencies([0.5, 0.7, 1.5])
    assert (figures.ttft, figures.tpot, figures.max_tbt) == pytest.approx((0.5, 0.5, 0.8))


def test_latency_of_one_token_has_no_time_between_tokens() -> None:
    figures = latencies([0.5])
    assert (figures.tpot, figures.max_tbt) == (None, None)


def test_an_answer_on_time_meets_every_deadline() -> None:
    assert fluidity_index([1.0, 1.2, 1.4], expected_ttft=1.0, pace=5.0) == 1.0


def test_early_tokens_bank_slack_for_a_pause() -> None:
    assert fluidity_index([1.0, 1.0, 1.0, 1.0, 1.75], expected_ttft=1.0, pace=5.0) == 1.0


def test_a_pause_misses_as_many_deadlines_as_it_lasts_and_resets_the_clock() -> None:
    # Due at 1.25, came 1.0 later: 1.0 // 0.25 + 1 = 5 missed; the next, 0.25 after it, is on time again.
    assert fluidity_index([1.0, 2.25, 2.5], expected_ttft=1.0, pace=4.0) == pytest.approx(2 / 7)


def test_no_answer_has_no_fluidity() -> None:
    assert fluidity_index([], expected_ttft=1.0, pace=4.0) is None


def test_tokens_handed_over_together_have_no_time_between_them() -> None:
    state = LatencyState()
    state.deliver(2.0, 3)
    assert (state.score().ttft, state.score().max_tbt) == (2.0, 0.0)


@given(delivery=timelines(min_size=0))
def test_the_incremental_latencies_equal_the_batch_form(delivery: list[float]) -> None:
    state = LatencyState()
    for at in delivery:
        state.deliver(at)
    assert state.score() == latencies(delivery)


@given(batches=st.lists(st.tuples(gaps, st.integers(1, 5)), min_size=1, max_size=20), ttft=ttfts, pace=paces)
def test_fluidity_of_tokens_handed_over_together_is_that_of_one_by_one(
    batches: list[tuple[float, int]], ttft: float, pace: float
) -> None:
    state, times, at = FluidityState(expected_ttft=ttft, pace=pace), [], 0.0
    for gap, tokens in batches:
        at += gap
        state.deliver(at, tokens)
        times += [at] * tokens
    assert state.index() == fluidity_index(times, expected_ttft=ttft, pace=pace)


@given(delivery=timelines(), ttft=ttfts, pace=paces)
def test_fluidity_stays_in_its_range(delivery: list[float], ttft: float, pace: float) -> None:
    index = fluidity_index(delivery, expected_ttft=ttft, pace=pace)
    assert index is not None
    assert 0 <= index <= 1
