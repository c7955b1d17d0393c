"""One request's score, for readers, programs and batch, and for every way to end."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andante.domain.pace import PRESETS, Expectation
from andante.domain.request_meter import Objective, Outcome, QoEFigures, RequestMeter
from unit.strategies import timelines

READER = Expectation(expected_ttft=1.0, pace=5.0)
AGENT = Expectation(expected_ttft=1.0, pace=25.0, deadline=30.0)


def _meter(expectation: Expectation = READER, delivery: list[float] | None = None) -> RequestMeter:
    meter = RequestMeter(expectation=expectation, objective=Objective())
    for at in delivery or []:
        meter.deliver(at)
    return meter


def _ended(meter: RequestMeter, at: float, outcome: Outcome) -> QoEFigures:
    figures = meter.ended(at, outcome)
    assert figures is not None
    return figures


def test_a_completed_answer_on_time_is_good() -> None:
    figures = _ended(_meter(delivery=[1.0, 1.1, 1.2]), 1.2, Outcome.COMPLETED)
    assert (figures.qoe, figures.good, figures.deficit, figures.idle_penalty_tokens) == (1.0, True, 0.0, 0.0)


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.REJECTED, Outcome.DRAINED])
def test_what_the_server_cuts_scores_zero_however_well_it_went(outcome: Outcome) -> None:
    figures = _ended(_meter(delivery=[0.5, 0.6, 0.7]), 0.8, outcome)
    assert (figures.qoe, figures.good, figures.deficit) == (0.0, False, 0.95)


def test_a_client_who_leaves_a_good_stream_leaves_a_good_request() -> None:
    assert _ended(_meter(delivery=[0.9, 1.0, 1.0]), 1.3, Outcome.ABORTED).good


def test_a_client_who_leaves_because_he_waited_counts_what_he_waited_for() -> None:
    figures = _ended(_meter(), 20.0, Outcome.ABORTED)
    assert (figures.qoe, figures.good) == (0.0, False)
    assert figures.idle_latency == pytest.approx(18.8)


def test_a_client_who_leaves_before_anything_was_expected_blames_nobody() -> None:
    assert _ended(_meter(), 0.4, Outcome.ABORTED).qoe == 1.0


@given(delivery=timelines(min_size=0, max_size=30), data=st.data())
def test_paradox_2_cutting_a_request_never_improves_its_qoe(delivery: list[float], data: st.DataObject) -> None:
    served = _ended(_meter(delivery=delivery), delivery[-1] if delivery else 0.0, Outcome.COMPLETED).qoe
    cut = data.draw(st.integers(0, len(delivery)))
    at = delivery[cut - 1] if cut else 0.0
    assert _ended(_meter(delivery=delivery[:cut]), at, Outcome.FAILED).qoe <= served


@pytest.mark.parametrize(("end", "qoe"), [(29.9, 1.0), (30.0, 1.0), (31.0, 0.0)])
def test_an_agent_wants_the_whole_answer_by_its_deadline(end: float, qoe: float) -> None:
    assert _ended(_meter(AGENT, [2.0, end]), end, Outcome.COMPLETED).qoe == qoe


def test_an_open_agent_request_is_perfect_until_its_deadline() -> None:
    meter = _meter(AGENT)
    before, after = meter.open(29.9), meter.open(30.5)
    assert before is not None
    assert after is not None
    assert (before.qoe, after.qoe) == (1.0, 0.0)


def test_batch_requests_are_never_counted_in_qoe() -> None:
    meter = _meter(PRESETS["batch"].expectation())
    meter.deliver(100.0, 50)
    assert (meter.open(101.0), meter.ended(101.0, Outcome.COMPLETED), meter.visible_tokens) == (None, None, 50)


def test_hidden_reasoning_is_waiting_for_the_first_visible_token() -> None:
    meter = _meter()
    meter.hide(500)
    meter.deliver(11.0, 10)
    figures = _ended(meter, 11.0, Outcome.COMPLETED)
    assert meter.ttft == 11.0
    assert figures.mean_delay == pytest.approx(10.0)


def test_latency_figures_that_no_token_defines_are_unknown() -> None:
    meter = _meter()
    assert (meter.ttft, meter.max_time_between_tokens, meter.last_delivery) == (None, None, None)


def test_max_time_between_tokens_is_the_longest_pause() -> None:
    assert _meter(delivery=[1.0, 1.5, 4.0, 4.1]).max_time_between_tokens == 2.5


def test_an_unserved_request_has_infinite_mean_delay() -> None:
    assert _ended(_meter(), 5.0, Outcome.FAILED).mean_delay == math.inf


def test_a_long_prompt_may_take_longer_to_its_first_token() -> None:
    qoe_class = PRESETS["reading"].__class__(name="long", expected_ttft=1.0, pace=4.8, expected_prefill_rate=5000.0)
    assert qoe_class.expectation(50_000).expected_ttft == 10.0
