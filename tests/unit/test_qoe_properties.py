"""What must hold for every timeline."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andante.domain.qoe import QoEState, score_timeline
from unit.strategies import gaps, paces, timelines, ttfts


def _state(delivery: list[float], *, expected_ttft: float, pace: float) -> QoEState:
    state = QoEState(expected_ttft=expected_ttft, pace=pace)
    for at, same in itertools.groupby(delivery):
        state.deliver(at, len(list(same)))
    return state


@given(delivery=timelines(min_size=0), ttft=ttfts, pace=paces)
def test_qoe_stays_in_its_range(delivery: list[float], ttft: float, pace: float) -> None:
    score = score_timeline(delivery, expected_ttft=ttft, pace=pace)
    assert 0.0 <= score.qoe <= 1.0
    assert -1e-9 <= score.andes_qoe <= 1.0


@given(delivery=timelines(), ttft=ttfts, pace=paces, data=st.data())
def test_a_later_token_never_raises_qoe(delivery: list[float], ttft: float, pace: float, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(delivery) - 1))
    later = np.array(delivery)
    later[index] += data.draw(gaps)
    later = np.maximum.accumulate(later)
    before = score_timeline(delivery, expected_ttft=ttft, pace=pace).qoe
    assert score_timeline(later, expected_ttft=ttft, pace=pace).qoe <= before + 1e-12


@given(delivery=timelines(), ttft=ttfts, pace=paces)
def test_tokens_earlier_than_the_ideal_change_nothing(delivery: list[float], ttft: float, pace: float) -> None:
    ideal = ttft + np.arange(len(delivery)) / pace
    on_time = np.maximum.accumulate(np.maximum(np.array(delivery), ideal))
    early = score_timeline(delivery, expected_ttft=ttft, pace=pace)
    assert score_timeline(on_time, expected_ttft=ttft, pace=pace).qoe == pytest.approx(early.qoe, abs=1e-9)


@given(delivery=timelines(), ttft=ttfts, pace=paces)
def test_the_incremental_form_equals_the_batch_form(delivery: list[float], ttft: float, pace: float) -> None:
    state, batch = (
        _state(delivery, expected_ttft=ttft, pace=pace),
        score_timeline(delivery, expected_ttft=ttft, pace=pace),
    )
    assert state.qoe() == pytest.approx(batch.qoe, abs=1e-9)
    assert state.andes_qoe() == pytest.approx(batch.andes_qoe, abs=1e-9)
    assert state.mean_delay() == pytest.approx(batch.mean_delay, rel=1e-9, abs=1e-9)
    assert state.delivered_tokens == batch.delivered_tokens


@given(delivery=timelines(), ttft=ttfts, pace=paces)
def test_the_open_form_is_continuous_where_the_request_ends(delivery: list[float], ttft: float, pace: float) -> None:
    state = _state(delivery, expected_ttft=ttft, pace=pace)
    assert state.open_qoe(delivery[-1], length=len(delivery)) == pytest.approx(state.qoe(), abs=1e-12)


@given(delivery=timelines(), ttft=ttfts, pace=paces)
def test_a_request_with_nothing_more_due_scores_the_same_open_and_ended(
    delivery: list[float], ttft: float, pace: float
) -> None:
    # The length is unknown here: the request is ahead of its reader when it ends.
    ahead = [min(t, ttft + 0.5 * (len(delivery) - 1) / pace) for t in delivery]
    state = _state(ahead, expected_ttft=ttft, pace=pace)
    assert state.open_qoe(ahead[-1]) == pytest.approx(state.qoe(), abs=1e-9) or len(delivery) == 1


@given(delivery=timelines(), ttft=ttfts, pace=paces, wait=gaps)
def test_waiting_longer_never_raises_mean_delay_of_an_open_request(
    delivery: list[float], ttft: float, pace: float, wait: float
) -> None:
    state = _state(delivery, expected_ttft=ttft, pace=pace)
    length = len(delivery) + 1
    now = max(delivery[-1], ttft + len(delivery) / pace)
    assert state.open_mean_delay(now + wait, length=length) >= state.open_mean_delay(now, length=length) - 1e-12


@given(n=st.integers(1, 100), late=st.floats(0.0, 60.0), pace=paces)
def test_a_response_that_is_only_late_as_a_whole_agrees_with_andes_up_to_one_reading_time(
    n: int, late: float, pace: float
) -> None:
    delivery = 1.0 + late + np.arange(n) / pace
    score = score_timeline(delivery, expected_ttft=1.0, pace=pace)
    ours, one_token_shorter = score.qoe, (n - 1) / 2 / pace / ((n - 1) / 2 / pace + late) if n > 1 and late else 0.0
    assert one_token_shorter - 1e-9 <= score.andes_qoe <= ours + 1e-9 or late < 1e-9
