"""Who gives up: a client that leaves after a long wait with nothing left to read scores as if the server had cut it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andante.api.v1alpha1.qoe import QoE
from andante.domain.pace import PRESETS, Expectation
from andante.domain.qoe import QoEState
from andante.domain.request_meter import Objective, Outcome, RequestMeter
from andante.engine_config import QoESettings
from unit.metered import metered_request
from unit.strategies import timelines

READER = Expectation(expected_ttft=1.0, pace=5.0)


def _meter(delivery: list[float], expectation: Expectation = READER, *, gave_up_after: float = 2.0) -> RequestMeter:
    meter = RequestMeter(expectation=expectation, objective=Objective(gave_up_after=gave_up_after))
    for at in delivery:
        meter.deliver(at)
    return meter


def test_a_reader_who_leaves_in_a_stall_after_100_tokens_scores_zero() -> None:
    """All is read at 21 s; scored on what it had read it would keep .9 and more."""
    meter = _meter([1.0 + i / 5 for i in range(100)])
    assert meter.ended(Outcome.ABORTED, at=25.0).qoe == pytest.approx(0.96, abs=0.03)
    assert meter.left(25.0) is Outcome.GAVE_UP
    score = meter.ended(Outcome.GAVE_UP, at=25.0)
    assert (score.qoe, score.andes_qoe, score.good, score.deficit) == (0.0, 0.0, False, 0.95)
    assert score.idle_latency == pytest.approx(25.0 - (1.0 + 101 / 5))


@given(delivery=timelines(min_size=1, max_size=30), wait=st.floats(0, 100), after=st.floats(0, 20))
def test_only_a_wait_with_nothing_left_to_read_counts(delivery: list[float], wait: float, after: float) -> None:
    at = delivery[-1] + wait
    state = QoEState(expected_ttft=1.0, pace=5.0)
    for token in delivery:
        state.deliver(token)
    read_all = 1.0 + (len(delivery) - 1) / 5.0 + state.lag + 1 / 5.0
    gave_up = _meter(delivery, gave_up_after=after).left(at) is Outcome.GAVE_UP
    if abs(at - read_all - after) > 1e-6:
        assert gave_up == (at - read_all > after)


@pytest.mark.parametrize(("at", "outcome"), [(0.5, Outcome.ABORTED), (3.0, Outcome.ABORTED), (3.1, Outcome.GAVE_UP)])
def test_without_a_token_the_wait_begins_when_the_first_was_due(at: float, outcome: Outcome) -> None:
    assert _meter([]).left(at) is outcome


@pytest.mark.parametrize(("at", "outcome"), [(12.7, Outcome.ABORTED), (12.9, Outcome.GAVE_UP)])
def test_who_waits_for_a_whole_answer_waits_from_when_it_was_due(at: float, outcome: Outcome) -> None:
    meter = _meter([])
    meter.expect_tokens(50)
    meter.comes_whole()
    assert meter.left(at) is outcome


@pytest.mark.parametrize(("at", "outcome"), [(31.0, Outcome.ABORTED), (33.0, Outcome.GAVE_UP)])
def test_a_program_waits_from_its_deadline(at: float, outcome: Outcome) -> None:
    assert _meter([2.0], PRESETS["agent"].expectation()).left(at) is outcome


def test_batch_never_gives_up() -> None:
    assert _meter([], PRESETS["batch"].expectation()).left(1e6) is Outcome.ABORTED


@given(delivery=timelines(min_size=0, max_size=30), wait=st.floats(0, 100))
def test_giving_up_is_never_better_than_leaving(delivery: list[float], wait: float) -> None:
    meter = _meter(delivery)
    at = (delivery[-1] if delivery else 0.0) + wait
    gave_up, left = (meter.ended(outcome, at=at) for outcome in (Outcome.GAVE_UP, Outcome.ABORTED))
    assert gave_up.qoe == 0.0
    assert gave_up.deficit is not None
    assert left.deficit is not None
    assert gave_up.deficit >= left.deficit
    assert gave_up.idle_latency == left.idle_latency


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf")])
def test_a_wait_without_meaning_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="gave_up_after"):
        Objective(gave_up_after=wrong)


@pytest.mark.parametrize(("at", "outcome"), [(3.5, Outcome.ABORTED), (4.5, Outcome.GAVE_UP)])
def test_the_resource_says_how_long_is_long(at: float, outcome: Outcome) -> None:
    settings = QoE(gave_up_after=3.0).to_settings()
    assert settings == QoESettings(gave_up_after_seconds=3.0)
    request = metered_request(settings)
    request.enters_engine(extra_args={}, prompt_tokens=3, form=None, count_tokens=len)
    first = request.call_began(1)
    request.reply_began(200, stream=True)
    request.produced(first, 1, False)
    request.body_sent(0.5, b"data: {}", False)  # read at 1.208 s
    request.client_left()
    assert request.ended(at=at, draining=False) is outcome
