"""Smooth goodput, and the two paradoxes that a serving metric must not reward."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from andante.domain.fluidity import latencies
from andante.domain.goodput import (
    Origin,
    SmoothGoodputState,
    benefit,
    classic_benefit,
    idle_latency,
    smooth_goodput,
)
from andante.domain.qoe import score_timeline
from unit.strategies import gaps, paces, timelines, ttfts


def test_an_answer_on_pace_has_no_idle_latency() -> None:
    assert idle_latency(1 + np.arange(1, 51) / 5, expected_ttft=1, pace=5) == pytest.approx(0.0, abs=1e-12)


def test_idle_latency_is_the_worst_miss_of_a_deadline() -> None:
    assert idle_latency([1.0, 6.4, 6.5], expected_ttft=1, pace=5) == pytest.approx(5.0)


def test_from_the_first_token_a_late_start_is_not_idling() -> None:
    late = 9 + np.arange(20) / 5
    assert idle_latency(late, expected_ttft=1, pace=5, origin=Origin.FIRST_TOKEN) == 0.0
    assert idle_latency(late, expected_ttft=1, pace=5) == pytest.approx(7.8)


def test_an_unserved_request_idles_for_as_long_as_it_waits() -> None:
    assert SmoothGoodputState(expected_ttft=1, pace=5).open_idle_latency(61.2) == pytest.approx(60.0)


def test_benefit_takes_the_idling_from_the_tokens() -> None:
    assert benefit(100, idle=4.0, alpha=5.0) == 80.0


def test_smooth_goodput_without_penalty_is_token_throughput() -> None:
    assert smooth_goodput([100, 50], [9.0, 9.0], alpha=0.0, interval=10.0) == 15.0


def test_smooth_goodput_takes_each_request_at_its_own_pace() -> None:
    assert smooth_goodput([100, 50], [2.0, 3.0], alpha=[5.0, 10.0], interval=10.0) == 11.0


def test_no_request_makes_no_goodput() -> None:
    assert smooth_goodput([], [], alpha=5.0, interval=10.0) == 0.0


@pytest.mark.parametrize(("tokens", "idle", "alpha"), [([-1], [0], 1), ([1], [math.nan], 1), ([1], [0], math.inf)])
def test_figures_out_of_range_are_refused(tokens: list[int], idle: list[float], alpha: float) -> None:
    with pytest.raises(ValueError, match="must be finite and >= 0"):
        smooth_goodput(tokens, idle, alpha=alpha, interval=1.0)


def test_figures_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="same shape"):
        smooth_goodput([1, 2], [0.0], alpha=1, interval=1.0)


def test_classic_goodput_forgets_all_tokens_of_a_request_that_missed_a_deadline() -> None:
    assert (classic_benefit(50, 0.0), classic_benefit(50, 0.01)) == (50, 0)


def test_an_open_request_idles_once_its_next_token_is_overdue() -> None:
    state = SmoothGoodputState(expected_ttft=1, pace=5)
    state.deliver(1.0, 10)
    assert state.open_idle_latency(3.2) == pytest.approx(0.0)
    assert state.open_idle_latency(4.2) == pytest.approx(1.0)


def test_from_the_first_token_an_unserved_request_still_counts_from_its_expectation() -> None:
    state = SmoothGoodputState(expected_ttft=1, pace=5, origin=Origin.FIRST_TOKEN)
    assert state.open_idle_latency(61.2) == pytest.approx(60.0)


@pytest.mark.parametrize(("at", "tokens"), [(0.5, 1), (math.nan, 1), (1.7e9, 1), (2.0, 0)])
def test_a_wrong_delivery_is_refused(at: float, tokens: int) -> None:
    state = SmoothGoodputState(expected_ttft=1, pace=5)
    state.deliver(1.0)
    with pytest.raises(ValueError, match=r"^(at|tokens) must be"):
        state.deliver(at, tokens)


@pytest.mark.parametrize("interval", [0.0, -1.0, math.nan, math.inf])
def test_an_interval_without_length_is_refused(interval: float) -> None:
    with pytest.raises(ValueError, match="interval"):
        smooth_goodput([1], [0.0], alpha=1.0, interval=interval)


@given(delivery=timelines(), ttft=ttfts, pace=paces, origin=st.sampled_from(Origin))
def test_the_incremental_form_equals_the_batch_form(
    delivery: list[float], ttft: float, pace: float, origin: Origin
) -> None:
    state = SmoothGoodputState(expected_ttft=ttft, pace=pace, origin=origin)
    for at in delivery:
        state.deliver(at)
    batch = idle_latency(delivery, expected_ttft=ttft, pace=pace, origin=origin)
    assert state.idle_latency() == pytest.approx(batch, abs=1e-9)


def test_holding_tokens_back_can_improve_max_tbt() -> None:
    stalled = np.array([1.0, 1.2, 1.4, 5.4, 5.6])
    held = np.array([2.4, 3.4, 4.4, 5.4, 5.6])
    before, after = latencies(stalled).max_tbt, latencies(held).max_tbt
    assert before is not None
    assert after is not None
    assert after < before


@given(delivery=timelines(), ttft=ttfts, pace=paces, data=st.data())
def test_paradox_1_holding_tokens_back_never_improves_qoe_or_smooth_goodput(
    delivery: list[float], ttft: float, pace: float, data: st.DataObject
) -> None:
    holds = data.draw(st.lists(gaps, min_size=len(delivery), max_size=len(delivery)))
    held = np.maximum.accumulate(np.array(delivery) + np.array(holds))

    def both(timeline: ArrayLike) -> tuple[float, float]:
        score = score_timeline(timeline, expected_ttft=ttft, pace=pace)
        idle = idle_latency(timeline, expected_ttft=ttft, pace=pace)
        return score.qoe, benefit(score.delivered_tokens, idle, alpha=pace)

    (qoe, gain), (held_qoe, held_gain) = both(delivery), both(held)
    assert held_qoe <= qoe + 1e-12
    assert held_gain <= gain + 1e-9


@given(delivery=timelines(min_size=2), ttft=ttfts, pace=paces, data=st.data())
def test_paradox_2_abandoning_a_late_request_never_improves_smooth_goodput(
    delivery: list[float], ttft: float, pace: float, data: st.DataObject
) -> None:
    served = benefit(len(delivery), idle_latency(delivery, expected_ttft=ttft, pace=pace), alpha=pace)
    cut = data.draw(st.integers(0, len(delivery) - 1))
    state = SmoothGoodputState(expected_ttft=ttft, pace=pace)
    for at in delivery[:cut]:
        state.deliver(at)
    # That user waits on, at least until the served one has an answer.
    abandoned = benefit(cut, state.open_idle_latency(delivery[-1]), alpha=pace)
    assert abandoned <= served + 1e-9


def test_classic_goodput_does_not_miss_a_late_request_that_is_dropped_and_smooth_goodput_does() -> None:
    late = [1.0, 1.2, 9.0, 9.2]
    idle = idle_latency(late, expected_ttft=1, pace=5)
    assert classic_benefit(len(late), idle) == classic_benefit(0, idle) == 0
    assert benefit(len(late), idle, alpha=5) > benefit(0, idle, alpha=5)


@given(delivery=timelines(), ttft=ttfts, pace=paces, shift=gaps)
def test_from_the_first_token_a_shift_in_time_changes_nothing(
    delivery: list[float], ttft: float, pace: float, shift: float
) -> None:
    moved = idle_latency(np.array(delivery) + shift, expected_ttft=ttft, pace=pace, origin=Origin.FIRST_TOKEN)
    still = idle_latency(delivery, expected_ttft=ttft, pace=pace, origin=Origin.FIRST_TOKEN)
    assert moved == pytest.approx(still, abs=1e-9)


@given(delivery=timelines(), ttft=ttfts, pace=paces, shift=gaps)
def test_from_arrival_expecting_it_later_forgives_as_much_lateness(
    delivery: list[float], ttft: float, pace: float, shift: float
) -> None:
    moved = idle_latency(np.array(delivery) + shift, expected_ttft=ttft + shift, pace=pace)
    assert moved == pytest.approx(idle_latency(delivery, expected_ttft=ttft, pace=pace), abs=1e-9)
