"""Smooth goodput, and the two paradoxes that a serving metric must not reward."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andante.domain.fluidity import latency
from andante.domain.goodput import DeadlineOrigin, IdleState, benefit, idle_latency, smooth_goodput
from andante.domain.qoe import score_timeline
from unit.strategies import gaps, paces, timelines, ttfts


def test_an_answer_on_pace_has_no_idle_latency() -> None:
    assert idle_latency(1 + np.arange(1, 51) / 5, expected_ttft=1, pace=5) == pytest.approx(0.0, abs=1e-12)


def test_idle_latency_is_the_worst_miss_of_a_deadline() -> None:
    assert idle_latency([1.0, 6.4, 6.5], expected_ttft=1, pace=5) == pytest.approx(5.0)


def test_from_the_first_token_a_late_start_is_not_idling() -> None:
    late = 9 + np.arange(20) / 5
    assert idle_latency(late, expected_ttft=1, pace=5, origin=DeadlineOrigin.FIRST_TOKEN) == 0.0
    assert idle_latency(late, expected_ttft=1, pace=5) == pytest.approx(7.8)


def test_an_unserved_request_idles_for_as_long_as_it_waits() -> None:
    assert IdleState(expected_ttft=1, pace=5).open_idle_latency(61.2) == pytest.approx(60.0)


def test_benefit_takes_the_idling_from_the_tokens() -> None:
    assert benefit(tokens=100, idle_latency=4.0, alpha=5.0) == 80.0


def test_smooth_goodput_without_penalty_is_token_throughput() -> None:
    benefits = [benefit(tokens=n, idle_latency=9.0, alpha=0.0) for n in (100, 50)]
    assert smooth_goodput(benefits=benefits, interval=10.0) == 15.0


@pytest.mark.parametrize("interval", [0.0, -1.0, math.nan, math.inf])
def test_an_interval_without_length_is_refused(interval: float) -> None:
    with pytest.raises(ValueError, match="interval"):
        smooth_goodput(benefits=[1.0], interval=interval)


@given(delivery=timelines(), ttft=ttfts, pace=paces, origin=st.sampled_from(DeadlineOrigin))
def test_the_incremental_form_equals_the_batch_form(
    delivery: list[float], ttft: float, pace: float, origin: DeadlineOrigin
) -> None:
    state = IdleState(expected_ttft=ttft, pace=pace, origin=origin)
    for at in delivery:
        state.deliver(at)
    batch = idle_latency(delivery, expected_ttft=ttft, pace=pace, origin=origin)
    assert state.idle_latency() == pytest.approx(batch, abs=1e-9)


def test_holding_tokens_back_can_improve_max_tbt() -> None:
    stalled = np.array([1.0, 1.2, 1.4, 5.4, 5.6])
    held = np.array([2.4, 3.4, 4.4, 5.4, 5.6])
    assert latency(held).max_time_between_tokens < latency(stalled).max_time_between_tokens  # type: ignore[operator]


@given(delivery=timelines(), ttft=ttfts, pace=paces, data=st.data())
def test_paradox_1_holding_tokens_back_never_improves_qoe_or_smooth_goodput(
    delivery: list[float], ttft: float, pace: float, data: st.DataObject
) -> None:
    holds = data.draw(st.lists(gaps, min_size=len(delivery), max_size=len(delivery)))
    held = np.maximum.accumulate(np.array(delivery) + np.array(holds))

    def both(d: object) -> tuple[float, float]:
        score = score_timeline(d, expected_ttft=ttft, pace=pace)  # type: ignore[arg-type]
        idle = idle_latency(d, expected_ttft=ttft, pace=pace)  # type: ignore[arg-type]
        return score.qoe, benefit(tokens=score.delivered_tokens, idle_latency=idle, alpha=pace)

    (qoe, gain), (held_qoe, held_gain) = both(delivery), both(held)
    assert held_qoe <= qoe + 1e-12
    assert held_gain <= gain + 1e-9


@given(delivery=timelines(min_size=2), ttft=ttfts, pace=paces, data=st.data())
def test_paradox_2_abandoning_a_late_request_never_improves_smooth_goodput(
    delivery: list[float], ttft: float, pace: float, data: st.DataObject
) -> None:
    served = benefit(
        tokens=len(delivery), idle_latency=idle_latency(delivery, expected_ttft=ttft, pace=pace), alpha=pace
    )
    cut = data.draw(st.integers(0, len(delivery) - 1))
    state = IdleState(expected_ttft=ttft, pace=pace)
    for at in delivery[:cut]:
        state.deliver(at)
    # His user waits on, at least until the served one had his answer.
    abandoned = benefit(tokens=cut, idle_latency=state.open_idle_latency(delivery[-1]), alpha=pace)
    assert abandoned <= served + 1e-9
