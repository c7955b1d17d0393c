"""What clients may expect beside their class: less, or what the resource says; for meter and scheduler alike."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andante.api.v1alpha1.qoe import ExpectationClass, QoE
from andante.domain.deficit_cause import Cause, DeficitByCause
from andante.domain.idle_replica import IdleReplica
from andante.domain.pace import PRESETS, ClientExpectations, Expectation, QoEClass
from andante.domain.request_meter import Outcome, RequestScore
from andante.engine_config import QoEClassSettings, QoESettings
from andante_vllm.expectations import (
    ClientExpectation,
    Effect,
    QoEClasses,
    arguments_expectation,
    from_body,
    from_headers,
    scheduler_arguments,
)
from andante_vllm.metered_request import MeteredRequest
from unit.metered import metered_request

RULES = st.sampled_from(list(ClientExpectations))
NUMBERS = st.none() | st.floats(0.01, 1000)
QUICK = IdleReplica(base=1e-4, prefill_token=0.0, sequence=0.0, context_token=0.0)


def _classes(rule: str, *, pace: float = 4.8, deadline: float | None = None) -> QoEClasses:
    settings = QoEClassSettings(
        name="reading", expected_ttft_seconds=1.0, pace=pace, deadline_seconds=deadline, client_expectations=rule
    )
    return QoEClasses(QoESettings(classes=(settings,)))


@pytest.mark.parametrize(
    ("rule", "ttft", "pace", "result", "effect"),
    [
        ("Relax", 3.0, 2.0, (3.0, 2.0), Effect.TAKEN),
        ("Relax", 3.0, 1000.0, (3.0, 4.8), Effect.LIMITED),
        ("Relax", 0.0, 1000.0, (1.0, 4.8), Effect.IGNORED),
        ("Relax", None, 2.0, (1.0, 2.0), Effect.TAKEN),
        ("Ignore", 3.0, 2.0, (1.0, 4.8), Effect.IGNORED),
        ("Allow", 0.0, 1000.0, (0.0, 1000.0), Effect.TAKEN),
        ("Allow", None, None, (1.0, 4.8), None),
    ],
)
def test_the_class_says_what_its_clients_may_expect(
    rule: str, ttft: float | None, pace: float | None, result: tuple[float, float], effect: Effect | None
) -> None:
    said = ClientExpectation(expected_ttft=ttft, pace=pace)
    resolved = _classes(rule).resolve(said, prompt_tokens=0, field="f")
    assert resolved.expectation == Expectation(expected_ttft=result[0], pace=result[1])
    assert resolved.effect is effect


@given(rule=RULES, ttft=NUMBERS, pace=NUMBERS, class_pace=st.sampled_from([0.0, 4.8]), raw=st.booleans())
def test_the_scheduler_goes_by_what_the_meter_measures_by(
    rule: ClientExpectations, ttft: float | None, pace: float | None, class_pace: float, raw: bool
) -> None:
    """What the middleware hands over, and what a way around the middleware would."""
    classes = _classes(rule, pace=class_pace)
    said = ClientExpectation(expected_ttft=ttft, pace=pace)
    resolved = classes.resolve(said, prompt_tokens=0, field="f")
    of_client = {"andante_expected_ttft": ttft, "andante_pace": pace}
    arguments: dict[str, Any] = {key: value for key, value in of_client.items() if value is not None}
    if not raw:
        arguments |= scheduler_arguments(resolved, said, received_at=0.0)
    assert arguments_expectation(arguments, resolved.qoe_class, prompt_tokens=0) == resolved.expectation


@given(ttft=NUMBERS, pace=NUMBERS)
def test_who_relaxes_never_expects_more_than_the_class(ttft: float | None, pace: float | None) -> None:
    said = ClientExpectation(expected_ttft=ttft, pace=pace)
    resolved = _classes("Relax").resolve(said, prompt_tokens=0, field="f")
    assert not resolved.beyond_class


def test_nobody_makes_a_reader_of_a_batch_class() -> None:
    resolved = _classes("Relax", pace=0.0).resolve(ClientExpectation(pace=5.0), prompt_tokens=0, field="f")
    assert (resolved.expectation.pace, resolved.effect) == (0.0, Effect.IGNORED)


def _served(rule: str, *, header: bool) -> tuple[MeteredRequest, RequestScore, DeficitByCause]:
    """A perfect answer for the class, to a client that expects 1000 tokens/s at once."""
    values = {"andante_expected_ttft": 0.0, "andante_pace": 1000.0}
    headers = [(b"x-andante-expected-ttft", b"0"), (b"x-andante-pace", b"1000")]
    request = metered_request(_classes(rule), said=from_headers(headers if header else []))
    extra = {} if header else values
    assert header or from_body(extra).pace == 1000.0
    request.enters_engine(extra_args=extra, prompt_tokens=3, form=None, count_tokens=len)
    first = request.call_began(1)
    request.reply_began(200, stream=True)
    for token in range(50):
        request.produced(first, 1, False)
        request.body_sent(1.0 + token / 5, b"data: {}", False)
    request.call_ended(first, 1)
    score = request.score_ended(Outcome.COMPLETED, 11.0)
    return request, score, request.causes(score, Outcome.COMPLETED, 11.0, idle=QUICK)[0]


@pytest.mark.parametrize("header", [True, False], ids=["header", "body"])
@pytest.mark.parametrize("rule", ["Relax", "Ignore"])
def test_a_hostile_client_makes_no_deficit(rule: str, header: bool) -> None:
    request, score, parts = _served(rule, header=header)
    assert score.qoe is not None
    assert score.qoe > 0.99
    assert (parts, request.effect) == (DeficitByCause(), Effect.IGNORED)


def test_where_the_resource_allows_it_the_deficit_is_the_clients() -> None:
    request, score, parts = _served("Allow", header=True)
    assert score.qoe is not None
    assert score.qoe < 0.1
    assert parts.of(Cause.CLIENT) == pytest.approx(parts.total)
    assert parts.total == score.deficit
    assert request.effect is Effect.TAKEN


def test_the_resource_reaches_the_engine() -> None:
    classes = (ExpectationClass(name="reading"), ExpectationClass(name="voice", client_expectations="Allow"))
    settings = QoE(classes=classes).to_settings()
    assert [c.client_expectations for c in settings.classes] == ["Relax", "Allow"]
    assert settings.classes[1].to_domain() == QoEClass(
        name="voice",
        expected_ttft=PRESETS["voice"].expected_ttft,
        pace=PRESETS["voice"].pace,
        client_expectations=ClientExpectations.ALLOW,
    )
