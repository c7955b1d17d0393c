"""Worked values beyond the table of the definition (test_qoe_check_values): both forms, open requests, deficits."""

from __future__ import annotations

import numpy as np
import pytest

from andante.domain.qoe import QoEState, request_deficit, score_timeline

CHECK_VALUES = {
    "on time": (1 + np.arange(50) / 5, 1.0, 1.0),
    "first token 3 s late, then on pace": (4 + np.arange(50) / 5, 0.6296, 0.6203),
    "0.3 s a token from 1 s": (1 + 0.3 * np.arange(50), 0.6755, 0.7500),
    "25 at once, pause to 12 s, 25 at once": (np.repeat([0.0, 12.0], 25), 0.6296, 0.7248),
    "one token, 1 s late": (np.array([2.0]), 0.1667, 0.1667),
}


@pytest.mark.parametrize(("delivery", "qoe", "andes"), CHECK_VALUES.values(), ids=CHECK_VALUES.keys())
def test_the_incremental_form_has_the_check_values(delivery: np.ndarray, qoe: float, andes: float) -> None:
    state = QoEState(expected_ttft=1, pace=5)
    for at in delivery.tolist():
        state.deliver(at)
    assert (round(state.qoe(), 4), round(state.andes_qoe(), 4)) == (qoe, andes)


def test_mean_delay_is_in_seconds() -> None:
    assert score_timeline(4 + np.arange(50) / 5, expected_ttft=1, pace=5).mean_delay == pytest.approx(3)


def test_a_stream_that_was_never_served_scores_as_an_empty_timeline() -> None:
    assert QoEState(expected_ttft=1, pace=5).score() == score_timeline([], expected_ttft=1, pace=5)


@pytest.mark.parametrize(
    ("now", "qoe", "mean_delay"),
    [
        (0.99, 1.0, 0.0),  # nothing is due yet
        (1.0, 1.0, 0.0),  # the first token is due now
        (1.1, 2 / 3, 0.1),  # one token, 0.1 s late: .2 / (.2 + .1)
        (2.0, 4.2 / 7.2, 0.5),  # six due, late by 1, .8, ... 0: area 3, reading 4.2
    ],
)
def test_open_request_without_a_token(now: float, qoe: float, mean_delay: float) -> None:
    state = QoEState(expected_ttft=1, pace=5)
    assert state.open_qoe(now) == pytest.approx(qoe)
    assert state.open_mean_delay(now) == pytest.approx(mean_delay)


def test_an_open_request_of_known_length_is_not_owed_more_than_that() -> None:
    state = QoEState(expected_ttft=1, pace=5)
    state.deliver(2.0, 3)
    # Each of the three is 1 s late; the further six that a longer answer would owe by 2.6 s do not exist.
    assert state.open_qoe(2.6, length=3) == pytest.approx(1.2 / 4.2)
    assert state.open_qoe(2.6, length=3) == state.qoe()


@pytest.mark.parametrize(
    ("qoe", "mean_delay", "target", "deficit"),
    [
        (0.96, 1.0, None, 0.0),
        (0.5, 0.1, None, 0.0),
        (0.5, 1.0, None, 0.45),
        (0.5, 1.0, 0.9, 0.4),
        (0.94, 1.0, 0.9, 0.0),
    ],
)
def test_deficit(qoe: float, mean_delay: float, target: float | None, deficit: float) -> None:
    assert request_deficit(
        qoe=qoe, mean_delay=mean_delay, objective=0.95, tolerated_delay=0.2, target=target
    ) == pytest.approx(deficit)
