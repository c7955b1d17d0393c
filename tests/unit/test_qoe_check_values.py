"""The measure's worked examples: τ0 = 1 s, 5 tokens/s."""

from __future__ import annotations

import math

import numpy as np
import pytest

from andante.domain.qoe import QoEState, is_good, request_deficit, score_timeline

I50 = np.arange(50)
CASES = {
    "on time": (1 + I50 / 5, 1.0, 1.0),
    "all early": (np.full(50, 0.5), 1.0, 1.0),
    "first token 3 s late, then on pace": (4 + I50 / 5, 0.6296, 0.6203),
    "0.3 s per token from 1 s": (1 + 0.3 * I50, 0.6755, 0.7500),
    "25 at once, pause to 12 s, 25 at once": (np.r_[np.ones(25), np.full(25, 12.0)], 0.6296, 0.7248),
    "one token, 1 s late": (np.array([2.0]), 0.1667, 0.1667),
}


@pytest.mark.parametrize("name", CASES)
def test_qoe_has_the_worked_value(name: str) -> None:
    delivery, expected, _ = CASES[name]
    assert score_timeline(delivery, expected_ttft=1, pace=5).qoe == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize("name", CASES)
def test_andes_qoe_has_the_worked_value(name: str) -> None:
    delivery, _, expected = CASES[name]
    assert score_timeline(delivery, expected_ttft=1, pace=5).andes_qoe == pytest.approx(expected, abs=5e-5)


def test_holding_back_the_last_token_raises_andes_qoe_and_lowers_ours() -> None:
    late = 11 + np.arange(100) / 5
    held = late.copy()
    held[-1] += 1000
    before, after = (score_timeline(d, expected_ttft=1, pace=5) for d in (late, held))
    assert (before.andes_qoe, after.andes_qoe) == pytest.approx((0.498, 0.980), abs=6e-4)
    assert (before.qoe, after.qoe) == pytest.approx((0.503, 0.336), abs=6e-4)


def test_no_token_scores_zero() -> None:
    score = score_timeline([], expected_ttft=1, pace=5)
    assert (score.qoe, score.andes_qoe, score.mean_delay) == (0.0, 0.0, math.inf)


def test_an_open_request_is_perfect_before_its_first_token_is_expected() -> None:
    assert QoEState(expected_ttft=1, pace=5).open_qoe(0.999) == 1.0


def test_an_open_request_counts_due_tokens_as_late_since_they_were_due() -> None:
    # At 2 s, tokens due at 1.0, 1.2 … 2.0 (six) wait: delays 1.0 + .8 + .6 + .4 + .2 + 0 = 3; S_read = 6·7/10.
    state = QoEState(expected_ttft=1, pace=5)
    assert state.open_qoe(2.0000001) == pytest.approx(4.2 / 7.2, abs=1e-6)


@pytest.mark.parametrize(
    ("qoe", "mean_delay", "tolerated_delay", "good"),
    [(0.95, 9.0, 0.2, True), (0.94, 0.2, 0.2, True), (0.94, 0.21, 0.2, False), (0.94, 0.0, 0.0, False)],
)
def test_good_is_the_objective_or_a_delay_that_nobody_feels(
    qoe: float, mean_delay: float, tolerated_delay: float, good: bool
) -> None:
    assert is_good(qoe=qoe, mean_delay=mean_delay, objective=0.95, tolerated_delay=tolerated_delay) is good


def test_a_good_request_has_no_deficit() -> None:
    assert request_deficit(qoe=0.5, mean_delay=0.1, objective=0.95, tolerated_delay=0.2) == 0.0


def test_deficit_is_the_distance_to_the_objective() -> None:
    assert request_deficit(qoe=0.5, mean_delay=3.0, objective=0.95, tolerated_delay=0.2) == pytest.approx(0.45)


@pytest.mark.parametrize(
    ("delivery", "word"), [([2.0, 1.0], "ascend"), ([-1.0], ">= 0"), ([math.nan], "finite"), ([[1.0]], "dimension")]
)
def test_a_broken_timeline_is_refused_with_the_reason(delivery: list[float], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        score_timeline(delivery, expected_ttft=1, pace=5)


@pytest.mark.parametrize("pace", [0.0, -1.0, math.inf, math.nan])
def test_a_pace_without_meaning_is_refused(pace: float) -> None:
    with pytest.raises(ValueError, match="pace"):
        QoEState(expected_ttft=1, pace=pace)
