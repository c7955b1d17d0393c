"""The figures that people know, and the fluidity index."""

from __future__ import annotations

import pytest

from andante.domain.fluidity import fluidity_index, latency


def test_latency_of_an_answer() -> None:
    figures = latency([0.5, 0.7, 1.5])
    assert (figures.ttft, figures.time_per_output_token, figures.max_time_between_tokens) == pytest.approx(
        (0.5, 0.5, 0.8)
    )


def test_latency_of_one_token_has_no_time_between_tokens() -> None:
    figures = latency([0.5])
    assert (figures.time_per_output_token, figures.max_time_between_tokens) == (None, None)


def test_an_answer_on_time_meets_every_deadline() -> None:
    assert fluidity_index([1.0, 1.2, 1.4], expected_ttft=1.0, pace=5.0) == 1.0


def test_early_tokens_bank_slack_for_a_pause() -> None:
    assert fluidity_index([1.0, 1.0, 1.0, 1.0, 1.75], expected_ttft=1.0, pace=5.0) == 1.0


def test_a_pause_misses_as_many_deadlines_as_it_lasts_and_resets_the_clock() -> None:
    # Due at 1.25, came 1.0 later: 1.0 // 0.25 + 1 = 5 missed; the next, 0.25 after it, is on time again.
    assert fluidity_index([1.0, 2.25, 2.5], expected_ttft=1.0, pace=4.0) == pytest.approx(2 / 7)


def test_no_answer_has_no_fluidity() -> None:
    assert fluidity_index([], expected_ttft=1.0, pace=4.0) is None
