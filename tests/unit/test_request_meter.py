"""One request's score, for readers, programs and batch, and for every way to end."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andante.domain.goodput import Origin
from andante.domain.pace import PRESETS, Expectation
from andante.domain.request_meter import Objective, Outcome, RequestMeter, RequestScore
from unit.strategies import timelines

READER = Expectation(expected_ttft=1.0, pace=5.0)
CUT = (Outcome.FAILED, Outcome.REJECTED, Outcome.DRAINED)
AGENT = Expectation(expected_ttft=1.0, pace=25.0, deadline=30.0)


def _meter(expectation: Expectation = READER, delivery: list[float] | None = None) -> RequestMeter:
    meter = RequestMeter(expectation=expectation, objective=Objective())
    for at in delivery or []:
        meter.deliver(at)
    return meter


def _ended(meter: RequestMeter, at: float, outcome: Outcome) -> RequestScore:
    return meter.ended(outcome, at=at)


def test_a_completed_answer_on_time_is_good() -> None:
    figures = _ended(_meter(delivery=[1.0, 1.1, 1.2]), 1.2, Outcome.COMPLETED)
    assert (figures.qoe, figures.good, figures.deficit, figures.idle_penalty) == (1.0, True, 0.0, 0.0)


@pytest.mark.parametrize("outcome", CUT)
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
    served = _ended(_meter(delivery=delivery), delivery[-1] if delivery else 0.0, Outcome.COMPLETED)
    cut = data.draw(st.integers(0, len(delivery)))
    at = delivery[cut - 1] if cut else 0.0
    dropped = _ended(_meter(delivery=delivery[:cut]), at, Outcome.FAILED)
    assert dropped.qoe is not None
    assert served.qoe is not None
    assert served.deficit is not None
    assert dropped.deficit is not None
    assert dropped.qoe <= served.qoe
    assert dropped.deficit >= served.deficit


@given(delivery=timelines(min_size=0, max_size=30), data=st.data())
def test_paradox_2_cutting_a_request_never_improves_its_benefit(delivery: list[float], data: st.DataObject) -> None:
    """Scored at the end of the measurement, as who was cut still waits."""
    end = (delivery[-1] if delivery else 0.0) + data.draw(st.floats(0, 100))
    served = _ended(_meter(delivery=delivery), end, Outcome.COMPLETED).benefit
    cut = data.draw(st.integers(0, len(delivery)))
    dropped = _ended(_meter(delivery=delivery[:cut]), end, data.draw(st.sampled_from(CUT))).benefit
    assert dropped <= served + 1e-9


@given(delivery=timelines(min_size=0, max_size=30), wait=st.floats(0, 100))
def test_a_client_who_leaves_gets_the_score_of_the_moment(delivery: list[float], wait: float) -> None:
    meter = _meter(delivery=delivery)
    now = (delivery[-1] if delivery else 0.0) + wait
    left, going_on = _ended(meter, now, Outcome.ABORTED), meter.open(now)
    if delivery or now <= READER.expected_ttft:
        assert left == going_on
    else:
        assert (left.qoe, left.andes_qoe) == (0.0, 0.0)


@pytest.mark.parametrize("outcome", list(Outcome))
def test_a_meter_never_ends_before_its_last_delivery(outcome: Outcome) -> None:
    with pytest.raises(ValueError, match=r"^at must be seconds since arrival"):
        _meter(delivery=[2.0]).ended(outcome, at=1.9)


@pytest.mark.parametrize("alpha", [-1.0, math.nan, math.inf])
def test_an_alpha_without_meaning_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha"):
        RequestMeter(expectation=READER, alpha=alpha)


@pytest.mark.parametrize(("qoe", "tolerated"), [(0.0, 0.2), (1.1, 0.2), (math.nan, 0.2), (0.9, -1.0), (0.9, math.inf)])
def test_an_objective_without_meaning_is_refused(qoe: float, tolerated: float) -> None:
    with pytest.raises(ValueError, match=r"objective|tolerated_delay"):
        Objective(qoe=qoe, tolerated_delay=tolerated)


def test_alpha_is_the_pace_unless_said_otherwise() -> None:
    for alpha, factor in ((None, 5.0), (0.0, 0.0), (20.0, 20.0)):
        meter = RequestMeter(expectation=READER, alpha=alpha)
        meter.deliver(4.2)
        score = _ended(meter, 4.2, Outcome.COMPLETED)
        assert score.idle_latency == pytest.approx(3.0)
        assert score.benefit == pytest.approx(1 - factor * 3.0)


def test_an_agent_idles_from_its_deadline() -> None:
    score = _ended(_meter(AGENT, [2.0, 33.0]), 34.0, Outcome.COMPLETED)
    assert (score.idle_latency, score.mean_delay, score.good) == (3.0, 3.0, False)


def test_an_agent_that_got_nothing_was_not_served() -> None:
    assert _ended(_meter(AGENT), 5.0, Outcome.COMPLETED).qoe == 0.0


@pytest.mark.parametrize(("end", "qoe"), [(29.9, 1.0), (30.0, 1.0), (31.0, 0.0)])
def test_an_agent_wants_the_whole_answer_by_its_deadline(end: float, qoe: float) -> None:
    assert _ended(_meter(AGENT, [2.0, end]), end, Outcome.COMPLETED).qoe == qoe


def test_an_open_agent_request_is_perfect_until_its_deadline() -> None:
    meter = _meter(AGENT)
    assert (meter.open(29.9).qoe, meter.open(30.5).qoe) == (1.0, 0.0)


def test_batch_requests_are_never_counted_in_qoe() -> None:
    meter = _meter(PRESETS["batch"].expectation())
    meter.deliver(100.0, 50)
    for score in (meter.open(101.0), *(meter.ended(outcome, at=101.0) for outcome in Outcome)):
        assert (score.qoe, score.andes_qoe, score.mean_delay, score.good, score.deficit) == (None,) * 5
        assert (score.tokens, score.idle_penalty, score.benefit) == (50, 0.0, 50.0)


def test_latencies_that_no_token_defines_are_unknown() -> None:
    score = _meter().open(5.0)
    assert (score.ttft, score.tpot, score.max_tbt, score.fluidity) == (None, None, None, None)


def test_max_tbt_is_the_longest_pause() -> None:
    assert _meter(delivery=[1.0, 1.5, 4.0, 4.1]).open(5.0).max_tbt == 2.5


def test_the_fluidity_index_is_counted_when_asked_for() -> None:
    meter = RequestMeter(expectation=READER, fluidity=True)
    meter.deliver(1.0, 5)
    assert meter.open(1.0).fluidity == 1.0


def test_an_unserved_request_has_infinite_mean_delay() -> None:
    assert _ended(_meter(), 5.0, Outcome.FAILED).mean_delay == math.inf


def test_a_long_prompt_may_take_longer_to_its_first_token() -> None:
    qoe_class = PRESETS["reading"].__class__(name="long", expected_ttft=1.0, pace=4.8, expected_prefill_rate=5000.0)
    assert qoe_class.expectation(50_000).expected_ttft == 10.0


@given(
    st.lists(st.tuples(st.floats(0, 5), st.integers(1, 4)), min_size=1, max_size=40),
    st.sampled_from([Origin.ARRIVAL, Origin.FIRST_TOKEN]),
)
def test_many_deliveries_at_once_are_the_same_as_one_by_one(steps: list[tuple[float, int]], origin: Origin) -> None:
    meters = [RequestMeter(expectation=READER, origin=origin, fluidity=True) for _ in range(2)]
    times = list(itertools.accumulate(gap for gap, _ in steps))
    tokens = [count for _, count in steps]
    for at, count in zip(times, tokens, strict=True):
        meters[0].deliver(at, count)
    meters[1].deliver_all(times, tokens)
    assert meters[0].open(times[-1] + 1) == meters[1].open(times[-1] + 1)
