"""The predicted QoE is the one that the measure gives when the prediction comes true."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andante.domain.qoe import QoEState
from andante.domain.scheduling.prediction import final_qoe
from unit.scheduling_views import requests


@given(
    ttft=st.floats(0, 5),
    pace=st.floats(0.5, 40),
    past=st.lists(st.floats(0, 2), max_size=30),
    wait=st.floats(0.001, 60),
    interval=st.floats(0.001, 1),
    rest=st.integers(1, 60),
)
def test_it_is_the_measured_qoe_of_the_predicted_timeline(
    ttft: float, pace: float, past: list[float], wait: float, interval: float, rest: int
) -> None:
    state = QoEState(expected_ttft=ttft, pace=pace)
    now = 0.0
    for gap in past:
        now += gap
        state.deliver(now)
    view = requests(
        1, expected_ttft=ttft, seconds_per_token=1 / pace, delivered=state.delivered_tokens, lag=state.lag,
        delay_area=state.delay_area, elapsed=now, remaining=rest,
    )  # fmt: skip
    predicted = final_qoe(view, next_token=np.array([now + wait]), interval=interval)
    for index in range(rest):
        state.deliver(now + wait + index * interval)
    assert predicted[0] == pytest.approx(state.qoe(), abs=1e-9)


def test_a_batch_request_loses_nothing_by_waiting() -> None:
    view = requests(1, expected_ttft=np.inf, seconds_per_token=0.0)
    assert final_qoe(view, next_token=np.array([1e4]), interval=0.5).tolist() == [1.0]


def test_a_deadline_is_met_or_missed() -> None:
    view = requests(2, expected_ttft=np.inf, seconds_per_token=0.0, deadline=30.0, remaining=[100.0, 400.0])
    assert final_qoe(view, next_token=np.array([1.0, 1.0]), interval=0.1).tolist() == [1.0, 0.0]
