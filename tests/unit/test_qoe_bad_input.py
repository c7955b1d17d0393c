"""Wrong input is refused with the name of the field, and changes nothing."""

from __future__ import annotations

import math

import pytest

from andante.domain.pace import PRESETS, Expectation
from andante.domain.qoe import QoEState, score_timeline

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize("ttft", [-1.0, NAN, INF, 2e9])
def test_expected_ttft(ttft: float) -> None:
    with pytest.raises(ValueError, match="expected_ttft"):
        QoEState(expected_ttft=ttft, pace=5)
    with pytest.raises(ValueError, match="expected_ttft"):
        Expectation(expected_ttft=ttft, pace=5)


@pytest.mark.parametrize("pace", [0.0, -1.0, NAN, INF])
def test_pace(pace: float) -> None:
    with pytest.raises(ValueError, match="pace"):
        score_timeline([1.0], expected_ttft=1, pace=pace)


@pytest.mark.parametrize("deadline", [0.0, -1.0, NAN, INF])
def test_deadline(deadline: float) -> None:
    with pytest.raises(ValueError, match="deadline"):
        Expectation(expected_ttft=1, pace=5, deadline=deadline)


@pytest.mark.parametrize("at", [-0.1, NAN, INF, 1.7e9, 1.9])
def test_delivery_time_of_a_stream(at: float) -> None:
    state = QoEState(expected_ttft=1, pace=5)
    state.deliver(2.0)
    before = state.score()
    with pytest.raises(ValueError, match=r"^at must be seconds since arrival"):
        state.deliver(at)
    assert state.score() == before


@pytest.mark.parametrize("tokens", [0, -3])
def test_number_of_tokens(tokens: int) -> None:
    with pytest.raises(ValueError, match=r"^tokens must be >= 1"):
        QoEState(expected_ttft=1, pace=5).deliver(1.0, tokens)


@pytest.mark.parametrize("now", [1.9, NAN, INF])
def test_time_of_an_open_request(now: float) -> None:
    state = QoEState(expected_ttft=1, pace=5)
    state.deliver(2.0)
    with pytest.raises(ValueError, match=r"^now must be seconds since arrival"):
        state.open_qoe(now)


@pytest.mark.parametrize(
    ("delivery", "index"),
    [([1.0, -2.0], 1), ([NAN], 0), ([1.0, 2.0, INF], 2), ([1.0, 3.0, 2.0, 1.0], 2), ([1.7e9], 0)],
)
def test_recorded_timeline_names_the_first_wrong_index(delivery: list[float], index: int) -> None:
    with pytest.raises(ValueError, match=rf"delivery\[{index}\]"):
        score_timeline(delivery, expected_ttft=1, pace=5)


def test_recorded_timeline_has_one_dimension() -> None:
    with pytest.raises(ValueError, match="one dimension"):
        score_timeline([[1.0]], expected_ttft=1, pace=5)


def test_negative_prompt_length() -> None:
    with pytest.raises(ValueError, match="prompt_tokens"):
        PRESETS["reading"].expectation(prompt_tokens=-1)


@pytest.mark.parametrize("pace", [5e-324, 1e-300, 1e6])
def test_extreme_paces_give_finite_scores(pace: float) -> None:
    state = QoEState(expected_ttft=0, pace=pace)
    state.deliver(1e9)
    state.deliver(1e9, 5)
    for score in (state.qoe(), state.andes_qoe(), state.open_qoe(1e9), state.open_andes_qoe(1e9)):
        assert 0 <= score <= 1


def test_a_length_below_what_was_delivered() -> None:
    state = QoEState(expected_ttft=1, pace=5)
    state.deliver(1.0, 3)
    with pytest.raises(ValueError, match=r"^length must be at least the 3 tokens delivered"):
        state.open_qoe(2.0, length=2)
