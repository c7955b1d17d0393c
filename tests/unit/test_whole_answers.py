"""Answers that do not stream: due as a whole when their reader would have had the last token, late as a whole."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from andante.api.v1alpha1.qoe import ExpectationClass, QoE
from andante.domain.answer_length import FIRST_GUESS, AnswerLengths
from andante.domain.pace import PRESETS, Expectation
from andante.domain.qoe import QoEState, open_whole, score_timeline, score_whole
from andante.domain.request_meter import Outcome, RequestMeter, RequestScore
from andante.engine_config import QoEClassSettings, QoESettings
from unit.metered import metered_request

READER = Expectation(expected_ttft=1.0, pace=5.0)
LENGTHS = st.integers(1, 3000)
SECONDS = st.floats(0, 1000)


def _meter(expected_tokens: float = 50, *, at: float | None = None, tokens: int = 50) -> RequestMeter:
    meter = RequestMeter(expectation=READER)
    meter.expect_tokens(expected_tokens)
    meter.comes_whole()
    if at is not None:
        meter.deliver(at, tokens)
    return meter


@given(tokens=LENGTHS, at=SECONDS)
def test_a_whole_answer_scores_as_a_stream_that_is_late_as_a_whole(tokens: int, at: float) -> None:
    delay = max(0.0, at - (1.0 + (tokens - 1) / 5.0))
    stream = score_timeline([1.0 + i / 5.0 + delay for i in range(tokens)], expected_ttft=1.0, pace=5.0)
    whole = score_whole(tokens, at=at, expected_ttft=1.0, pace=5.0)
    assert whole.qoe == pytest.approx(stream.qoe, abs=1e-9)
    assert whole.andes_qoe == pytest.approx(stream.andes_qoe, abs=1e-9)
    assert whole.mean_delay == pytest.approx(stream.mean_delay, abs=1e-9)


@given(tokens=LENGTHS, at=SECONDS, later=SECONDS)
def test_a_later_answer_is_never_better(tokens: int, at: float, later: float) -> None:
    first, second = (score_whole(tokens, at=a, expected_ttft=1.0, pace=5.0) for a in (at, at + later))
    assert second.qoe <= first.qoe
    assert second.mean_delay >= first.mean_delay


@given(tokens=LENGTHS, at=SECONDS)
def test_whole_is_never_harder_than_streaming_the_same_tokens_then(tokens: int, at: float) -> None:
    stream = QoEState(expected_ttft=1.0, pace=5.0)
    stream.deliver(at, tokens)
    assert score_whole(tokens, at=at, expected_ttft=1.0, pace=5.0).qoe >= stream.qoe() - 1e-12


@pytest.mark.parametrize(("tokens", "seconds"), [(200, 1.4), (600, 4.2)])
def test_an_idle_gpu_that_writes_faster_than_code_is_read_is_perfect(tokens: int, seconds: float) -> None:
    """Scored as a stream whose tokens all come at the end, it would be at .82 and .77."""
    meter = RequestMeter(expectation=PRESETS["code"].expectation())
    meter.expect_tokens(100)
    meter.comes_whole()
    meter.deliver(seconds, tokens)
    score = meter.ended(Outcome.COMPLETED, at=seconds)
    assert (score.qoe, score.deficit, score.idle_penalty) == (1.0, 0.0, 0.0)


@given(length=LENGTHS, now=SECONDS)
def test_an_open_one_is_an_open_stream_that_had_everything_of_the_expected_length(length: int, now: float) -> None:
    due = 1.0 + (length - 1) / 5.0
    score = open_whole(now, length=length, expected_ttft=1.0, pace=5.0)
    if now <= due:
        assert (score.qoe, score.mean_delay) == (1.0, 0.0)
    stream = QoEState(expected_ttft=1.0, pace=5.0)
    for i in range(length):
        if 1.0 + i / 5.0 <= max(now, due):
            stream.deliver(1.0 + i / 5.0)
    if now > due:
        assert score.qoe == pytest.approx(stream.open_qoe(now))


def test_the_idle_latency_is_how_late_the_whole_is() -> None:
    score = _meter(at=13.8).ended(Outcome.COMPLETED, at=14.0)
    assert score.idle_latency == score.mean_delay == pytest.approx(3.0)
    assert _meter().open(20.8).idle_latency == pytest.approx(10.0)


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.REJECTED, Outcome.DRAINED])
def test_what_the_server_cuts_scores_zero(outcome: Outcome) -> None:
    score = _meter().ended(outcome, at=20.8)
    assert (score.qoe, score.idle_latency) == (0.0, pytest.approx(10.0))


@pytest.mark.parametrize(("at", "qoe"), [(10.0, 1.0), (11.1, 0.0)])
def test_who_leaves_before_the_answer_was_due_blames_nobody(at: float, qoe: float) -> None:
    assert _meter().ended(Outcome.ABORTED, at=at).qoe == qoe


def test_an_answer_without_a_visible_token_is_none() -> None:
    assert _meter().ended(Outcome.COMPLETED, at=2.0).qoe == 0.0


@pytest.mark.parametrize(("tokens", "at"), [(-1, 0.0), (1, -1.0), (1, math.nan)])
def test_a_wrong_figure_is_refused(tokens: int, at: float) -> None:
    with pytest.raises(ValueError, match=r"tokens|at"):
        score_whole(tokens, at=at, expected_ttft=1.0, pace=5.0)


def test_the_expected_length_is_the_mean_of_the_class() -> None:
    lengths = AnswerLengths()
    assert lengths.expected("code") == FIRST_GUESS
    for _ in range(1000):
        lengths.learn("code", 600)
    assert lengths.expected("code") == pytest.approx(600, abs=5)
    assert lengths.expected("code", longest=100) == 100
    assert lengths.expected("reading") == FIRST_GUESS


CLASSES = tuple(QoEClassSettings.from_domain(PRESETS[name]) for name in ("reading", "agent", "voice"))


def _answered(
    unstreamed: str, *, asked_whole: bool = True, stream: bool = False, qoe_class: str | None = None
) -> tuple[str, RequestScore]:
    """50 tokens in one piece, 10 s after the request."""
    request = metered_request(QoESettings(classes=CLASSES, unstreamed=unstreamed))
    request.enters_engine(
        extra_args={"andante_class": qoe_class} if qoe_class else {},
        prompt_tokens=3,
        form=None,
        count_tokens=len,
        whole=asked_whole,
    )
    first = request.call_began(1)
    request.produced(first, 50, True)
    request.call_ended(first, 1)
    request.reply_began(200, stream=stream)
    request.body_sent(10.0, b"{}", True)
    return request.qoe_class.name, request.score_ended(Outcome.COMPLETED, 10.0)


@pytest.mark.parametrize(
    ("unstreamed", "qoe_class", "perfect"),
    [("Whole", "reading", True), ("AsStream", "reading", False), ("agent", "agent", True), ("voice", "voice", True)],
)
def test_the_resource_says_how_such_answers_count(unstreamed: str, qoe_class: str, perfect: bool) -> None:
    name, score = _answered(unstreamed)
    assert (name, score.qoe == 1.0) == (qoe_class, perfect)


def test_a_class_that_the_client_names_is_kept() -> None:
    assert _answered("agent", qoe_class="reading")[0] == "reading"


def test_streams_keep_the_default_class() -> None:
    name, score = _answered("agent", asked_whole=False, stream=True)
    assert name == "reading"
    assert score.qoe is not None
    assert score.qoe < 1.0


def test_the_reply_decides_where_the_engine_was_asked_for_a_stream() -> None:
    """A beam search: the engine is asked token by token, and the answer is whole."""
    assert _answered("Whole", asked_whole=False)[1].qoe == 1.0


def test_a_class_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValidationError, match="unstreamed: must be Whole, AsStream or a class"):
        QoESettings(unstreamed="nobody")


def test_the_resource_reaches_the_engine() -> None:
    classes = (ExpectationClass(name="reading"), ExpectationClass(name="agent"))
    assert QoE(classes=classes).to_settings().unstreamed == "Whole"
    assert QoE(classes=classes, unstreamed="agent").to_settings().unstreamed == "agent"
