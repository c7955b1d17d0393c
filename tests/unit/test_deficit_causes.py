"""What of a deficit a further replica could relieve: four causes that add up, and what an idle replica would give."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from andante.domain.deficit_cause import Cause, DeficitByCause, split_deficit
from andante.domain.idle_replica import START, IdleReason, IdleReplica, IdleTimeline
from andante.domain.pace import PRESETS, Expectation
from andante.domain.qoe import QoEState
from andante.domain.request_meter import Outcome, RequestMeter
from andante.engine_config import QoEClassSettings, QoESettings
from andante_vllm.company import Company
from andante_vllm.metered_request import MeteredRequest
from unit.metered import metered_request

PACES = st.floats(0.1, 100)
READER = Expectation(expected_ttft=1.0, pace=5.0)
INSTANT = IdleTimeline(prefill=0.0, hidden=0.0, step=1e-5)
IDLE_TIMELINES = st.builds(IdleTimeline, prefill=st.floats(0, 50), hidden=st.floats(0, 50), step=st.floats(1e-4, 2))
EXPECTATIONS = st.builds(Expectation, expected_ttft=st.floats(0, 20), pace=PACES) | st.builds(
    Expectation, expected_ttft=st.floats(0, 20), pace=PACES, deadline=st.floats(0.1, 60)
)
DELIVERIES = st.lists(st.tuples(st.floats(0, 10), st.integers(1, 5)), max_size=30)


@given(
    first=st.floats(0, 50), gap=st.floats(0, 3), tokens=st.integers(1, 60), pace=PACES, before=st.floats(0, 10),
    some=st.integers(0, 5),
)  # fmt: skip
def test_an_even_delivery_is_that_of_its_tokens(
    first: float, gap: float, tokens: int, pace: float, before: float, some: int
) -> None:
    at_once, one_by_one = (QoEState(expected_ttft=1.0, pace=pace) for _ in range(2))
    first = max(first, before)
    for state in (at_once, one_by_one):
        if some:
            state.deliver(before, some)
    at_once.deliver_evenly(first, gap, tokens)
    for token in range(tokens):
        one_by_one.deliver(first + token * gap)
    assert at_once.delivered_tokens == one_by_one.delivered_tokens
    assert at_once.lag == pytest.approx(one_by_one.lag, rel=1e-9, abs=1e-9)
    assert at_once.delay_area == pytest.approx(one_by_one.delay_area, rel=1e-9, abs=1e-6)


@pytest.mark.parametrize(
    ("first", "gap", "tokens"), [(-1.0, 0.1, 3), (1.0, -0.1, 3), (1.0, 0.1, 0), (1.0, math.inf, 3)]
)
def test_a_wrong_even_delivery_is_refused(first: float, gap: float, tokens: int) -> None:
    with pytest.raises(ValueError, match=r"at|tokens"):
        QoEState(expected_ttft=1.0, pace=5.0).deliver_evenly(first, gap, tokens)


def _meter(expectation: Expectation, delivery: list[tuple[float, int]], *, whole: bool) -> tuple[RequestMeter, float]:
    meter = RequestMeter(expectation=expectation)
    meter.expect_tokens(40)
    if whole:
        meter.comes_whole()
    at = 0.0
    for gap, tokens in delivery:
        at += gap
        meter.deliver(at, tokens)
    return meter, at


@given(
    expectation=EXPECTATIONS, delivery=DELIVERIES, wait=st.floats(0, 60), whole=st.booleans(), idle=IDLE_TIMELINES,
    outcome=st.sampled_from([None, *Outcome]), beyond=st.floats(0, 1),
)  # fmt: skip
def test_the_four_causes_add_up_to_the_deficit(
    expectation: Expectation, delivery: list[tuple[float, int]], wait: float, whole: bool, idle: IdleTimeline,
    outcome: Outcome | None, beyond: float,
) -> None:  # fmt: skip
    meter, last = _meter(expectation, delivery, whole=whole)
    at = last + wait
    score = meter.open(at) if outcome is None else meter.ended(outcome, at=at)
    assert score.deficit is not None
    idle_deficit = meter.idle_deficit(idle, outcome, at=at)
    parts = split_deficit(score.deficit, outcome=outcome, idle_deficit=idle_deficit, beyond_class=beyond)
    assert all(parts.of(cause) >= 0 for cause in Cause)
    assert parts.total == pytest.approx(score.deficit, abs=1e-12)
    assert (parts.failed > 0) == (score.deficit > 0 and outcome is not None and outcome.cut_by_server)


@given(
    expectation=EXPECTATIONS, idle=IDLE_TIMELINES, tokens=st.integers(0, 200), whole=st.booleans(),
    seconds=st.none() | st.floats(0, 200),
)  # fmt: skip
def test_a_replica_that_was_idle_has_no_load_to_blame(
    expectation: Expectation, idle: IdleTimeline, tokens: int, whole: bool, seconds: float | None
) -> None:
    """Open after `seconds`, or ended."""
    meter = RequestMeter(expectation=expectation)
    meter.expect_tokens(max(tokens, 1))
    if whole:
        meter.comes_whole()
    at = idle.at(tokens) if tokens else 0.0
    if seconds is None:
        if whole or expectation.deadline is not None:
            if tokens:
                meter.deliver(at, tokens)
        else:
            for token in range(1, tokens + 1):
                meter.deliver(idle.at(token))
        score, outcome = meter.ended(Outcome.COMPLETED, at=at), Outcome.COMPLETED
    else:
        at, outcome = seconds, None
        there = idle.tokens_by(at, most=tokens)
        assume(there < tokens or not tokens)  # else it would have ended
        for token in range(1, there + 1):
            if not whole:
                meter.deliver(min(idle.at(token), at))
        if tokens == 0:
            assume(at < idle.first)
        score = meter.open(at)
    assert score.deficit is not None
    parts = split_deficit(score.deficit, outcome=outcome, idle_deficit=meter.idle_deficit(idle, outcome, at=at))
    assert parts.load == pytest.approx(0.0, abs=1e-6)


@given(delivery=DELIVERIES, wait=st.floats(0, 60), outcome=st.sampled_from([None, Outcome.COMPLETED, Outcome.ABORTED]))
def test_what_an_instant_replica_would_relieve_is_all_load(
    delivery: list[tuple[float, int]], wait: float, outcome: Outcome | None
) -> None:
    assume(delivery)
    meter, last = _meter(READER, delivery, whole=False)
    assert meter.idle_deficit(INSTANT, outcome, at=last + wait) == pytest.approx(0.0, abs=0.01)


def _timeline(idle: IdleReplica = START, *, cached: int = 0, **tokens: int) -> IdleTimeline:
    wanted = {"prompt_tokens": 100, "hidden_tokens": 0, "visible_tokens": 300, "sequences": 1, **tokens}
    return idle.timeline(cached_tokens=cached, **wanted)


def _idle_qoe(timeline: IdleTimeline, qoe_class: str, tokens: int) -> float:
    state = QoEState(expected_ttft=PRESETS[qoe_class].expected_ttft, pace=PRESETS[qoe_class].pace)
    state.deliver_evenly(timeline.first, timeline.step, tokens)
    return state.qoe()


def test_a_thinking_model_misses_the_objective_on_an_idle_replica() -> None:
    """2,000 hidden tokens at 10 ms, 300 visible ones."""
    engine = IdleReplica(base=0.01, prefill_token=0.0, sequence=0.0, context_token=0.0)
    timeline = _timeline(engine, hidden_tokens=2000)
    assert timeline.first == pytest.approx(20.01)
    assert _idle_qoe(timeline, "reading", 300) == pytest.approx(0.62, abs=0.01)
    assert timeline.reason(tokens=300, pace=4.8, hidden_tokens=2000) is IdleReason.REASONING


def test_a_pace_above_the_decode_speed_misses_it_too() -> None:
    engine = IdleReplica(base=0.05, prefill_token=0.0, sequence=0.0, context_token=0.0)
    timeline = _timeline(engine)
    assert _idle_qoe(timeline, "code", 600) == pytest.approx(0.82, abs=0.01)
    assert timeline.reason(tokens=300, pace=25.0, hidden_tokens=0) is IdleReason.PACE


def test_a_long_prompt_counts_as_far_as_no_cache_holds_it() -> None:
    whole, cached = _timeline(prompt_tokens=30_000), _timeline(prompt_tokens=30_000, cached=29_000)
    assert whole.prefill == pytest.approx(math.ceil(30_000 / 8192) * START.base + 30_000 * START.prefill_token)
    assert cached.prefill == pytest.approx(START.base + 1000 * START.prefill_token)
    assert whole.reason(tokens=50, pace=25.0, hidden_tokens=0) is IdleReason.PROMPT


def test_several_sequences_share_their_replica() -> None:
    one, many = _timeline(), _timeline(sequences=64)
    assert many.step == pytest.approx(START.base + 64 * (START.sequence + START.context_token * 250))
    assert many.step > one.step


def test_a_step_of_several_tokens_brings_an_idle_replica_to_its_end_sooner() -> None:
    """With speculative decoding: the pace that one token a step misses is kept."""
    plain, speculative = (
        IdleReplica(base=0.05, prefill_token=0.0, sequence=0.0, context_token=0.0, tokens_per_step=tokens)
        for tokens in (1.0, 2.5)
    )
    assert _timeline(speculative).step == pytest.approx(0.02)
    assert _timeline(speculative).first == _timeline(plain).first
    assert _timeline(speculative, hidden_tokens=100).hidden == pytest.approx(2.0)
    assert _idle_qoe(_timeline(speculative), "code", 600) == 1.0


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -1.0])
def test_a_broken_fit_breaks_no_request(wrong: float) -> None:
    engine = IdleReplica(base=wrong, prefill_token=wrong, sequence=wrong, context_token=wrong, tokens_per_step=wrong)
    timeline = _timeline(engine, hidden_tokens=5)
    assert timeline.step > 0
    assert math.isfinite(timeline.at(1000))


def test_an_answer_that_only_reasons_buys_no_replica() -> None:
    meter, _ = _meter(READER, [], whole=False)
    assert meter.idle_deficit(_timeline(hidden_tokens=100), Outcome.COMPLETED, at=9.0) == 0.95


def test_who_gives_up_where_an_idle_replica_would_think_too_is_not_loads() -> None:
    meter, _ = _meter(READER, [], whole=False)
    thinks = IdleTimeline(prefill=0.1, hidden=60.0, step=0.01)
    answers = IdleTimeline(prefill=0.1, hidden=0.0, step=0.01)
    assert meter.idle_deficit(thinks, Outcome.GAVE_UP, at=30.0) == 0.95
    assert meter.idle_deficit(answers, Outcome.GAVE_UP, at=30.0) == 0.0


def _request(
    qoe_class: str = "reading", *, queued: float = 0.0, company: Company | None = None
) -> tuple[MeteredRequest, float]:
    """A request of 100 prompt tokens, 90 of them cached, and 50 tokens at 20 ms after `queued` seconds; and its end."""
    request = metered_request(
        QoESettings(default_class=qoe_class, classes=(QoEClassSettings.from_domain(PRESETS[qoe_class]),)),
        company=company,
    )
    request.enters_engine(extra_args={}, prompt_tokens=100, form=None, count_tokens=len)
    first = request.call_began(1)
    request.found_cached(90)
    request.reply_began(200, stream=True)
    times = itertools.accumulate([queued + 0.02] + [0.02] * 49)
    for at in times:
        request.produced(first, 1, False)
        request.body_sent(at, b"data: {}", False)
    request.call_ended(first, 1)
    return request, at


@pytest.mark.parametrize(
    ("base", "cause"), [(0.02, Cause.LOAD), (60.0, Cause.IDLE)], ids=["a quick engine", "an engine that is slow itself"]
)
def test_a_request_in_a_queue_lacks_by_load_what_the_engine_could_have_done(base: float, cause: Cause) -> None:
    request, at = _request(queued=60.0)
    score = request.score_ended(Outcome.COMPLETED, at)
    engine = IdleReplica(base=base, prefill_token=1e-4, sequence=0.0, context_token=0.0)
    parts, reason = request.causes(score, Outcome.COMPLETED, at, idle=engine)
    assert parts.of(cause) == pytest.approx(parts.total)
    assert parts.total == score.deficit
    assert (reason is not None) == (cause is Cause.IDLE)


def test_a_good_request_has_no_cause() -> None:
    request, at = _request()
    parts = request.causes(request.score_ended(Outcome.COMPLETED, at), Outcome.COMPLETED, at, idle=START)
    assert parts == (DeficitByCause(), None)


@given(idle=IDLE_TIMELINES, tokens=st.integers(1, 200), whole=st.booleans(), expectation=EXPECTATIONS)
def test_a_replica_that_was_idle_loses_only_what_is_unavoidable(
    idle: IdleTimeline, tokens: int, whole: bool, expectation: Expectation
) -> None:
    meter = RequestMeter(expectation=expectation)
    if whole:
        meter.comes_whole()
    at = idle.at(tokens)
    if whole or expectation.deadline is not None:
        meter.deliver(at, tokens)
    else:
        for token in range(1, tokens + 1):
            meter.deliver(idle.at(token))
    penalty = meter.ended(Outcome.COMPLETED, at=at).idle_penalty
    assert meter.idle_penalty(idle, Outcome.COMPLETED, at=at) == pytest.approx(penalty, rel=1e-6, abs=1e-6)
    assert meter.idle_penalty(INSTANT, Outcome.COMPLETED, at=at) <= 0.01


@pytest.mark.parametrize(("outcome", "share"), [(Outcome.COMPLETED, 1.0), (Outcome.FAILED, 0.0)])
def test_of_the_idle_penalty_the_unavoidable_part_is_told(outcome: Outcome, share: float) -> None:
    request, at = _request(queued=60.0)
    score = request.score_ended(outcome, at)
    slow = IdleReplica(base=100.0, prefill_token=0.0, sequence=0.0, context_token=0.0)
    assert request.unavoidable_penalty(score, outcome, at, idle=slow) == share * score.idle_penalty
    quick = IdleReplica(base=1e-4, prefill_token=0.0, sequence=0.0, context_token=0.0)
    assert request.unavoidable_penalty(score, outcome, at, idle=quick) == 0.0


def test_what_the_server_cut_failed() -> None:
    request, at = _request()
    parts, reason = request.causes(request.score_ended(Outcome.FAILED, at), Outcome.FAILED, at, idle=START)
    assert (parts, reason) == (DeficitByCause(failed=0.95), None)


QUICK = IdleReplica(base=0.02, prefill_token=1e-4, sequence=0.0, context_token=0.0)


def _why_late(request: MeteredRequest, at: float) -> tuple[float, float, IdleReason | None]:
    """Of a completed request: deficit by load, deficit of an idle replica, and the latter's reason."""
    score = request.score_ended(Outcome.COMPLETED, at)
    parts, reason = request.causes(score, Outcome.COMPLETED, at, idle=QUICK)
    assert parts.total == pytest.approx(score.deficit)
    return parts.load, parts.idle, reason


def test_no_replica_is_bought_for_a_request_that_had_one_to_itself() -> None:
    request, at = _request(queued=60.0, company=Company())
    load, idle, reason = _why_late(request, at)
    assert (load, reason) == (0.0, IdleReason.SLOW)
    assert idle > 0
    score = request.score_ended(Outcome.COMPLETED, at)
    assert request.unavoidable_penalty(score, Outcome.COMPLETED, at, idle=QUICK) == score.idle_penalty > 0


def test_a_cut_request_is_a_failure_even_where_it_was_alone() -> None:
    request, at = _request(queued=60.0, company=Company())
    score = request.score_ended(Outcome.DRAINED, at)
    parts, _ = request.causes(score, Outcome.DRAINED, at, idle=QUICK)
    assert parts.failed == parts.total > 0


@pytest.mark.parametrize("when", ["before", "between two of its tokens", "and is gone before its first token"])
def test_who_shared_the_engine_for_a_moment_was_not_alone(when: str) -> None:
    company = Company()
    request = metered_request(company=company)
    if when == "before":
        other = metered_request(company=company)
        other.call_began(1)
        request = metered_request(company=company)
        other.call_ended(0, 1)
    request.enters_engine(extra_args={}, prompt_tokens=100, form=None, count_tokens=len)
    if when == "and is gone before its first token":
        other = metered_request(company=company)
        other.call_ended(other.call_began(1), 1)
    first = request.call_began(1)
    request.reply_began(200, stream=True)
    request.produced(first, 1, False)
    request.body_sent(60.0, b"data: {}", False)
    if when == "between two of its tokens":
        metered_request(company=company).call_began(1)
    request.produced(first, 1, True)
    request.body_sent(90.0, b"data: {}", True)
    request.call_ended(first, 1)
    load, _, _ = _why_late(request, 90.0)
    assert load > 0


def test_the_sequences_and_later_prompts_of_a_request_are_no_company_of_its_own() -> None:
    company = Company()
    request = metered_request(company=company)
    for at in (60.0, 90.0):
        request.enters_engine(extra_args={}, prompt_tokens=100, form=None, count_tokens=len)
        first = request.call_began(2)
        for choice in (first, first + 1):
            request.produced(choice, 1, True)
        request.body_sent(at, b"data: {}", False)
        request.call_ended(first, 2)
    load, idle, _ = _why_late(request, 90.0)
    assert load == 0.0
    assert idle > 0


def test_those_who_came_and_went_during_a_slow_upload_were_no_company() -> None:
    company = Company()
    request = metered_request(company=company)
    other = metered_request(company=company)
    other.call_ended(other.call_began(1), 1)
    request.body_received(at=10.0, unix_time=10.0)
    request.enters_engine(extra_args={}, prompt_tokens=100, form=None, count_tokens=len)
    first = request.call_began(1)
    request.produced(first, 1, True)
    request.body_sent(90.0, b"data: {}", True)
    request.call_ended(first, 1)
    load, _, _ = _why_late(request, 90.0)
    assert load == 0.0
