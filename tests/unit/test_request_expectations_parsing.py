"""What a client may say of itself: any bytes, any JSON value end in an expectation or an error that names a field."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from andante.domain.pace import ClientExpectations, Expectation, QoEClass
from andante.engine_config import QoEClassSettings, QoESettings
from andante_vllm import request_args
from andante_vllm.expectations import (
    NOTHING_SAID,
    BadExpectationError,
    ClientExpectation,
    QoEClasses,
    arguments_arrival,
    arguments_expectation,
    from_body,
    from_headers,
    scheduler_arguments,
)

SETTINGS = QoESettings(
    classes=(
        QoEClassSettings(name="reading", expected_ttft_seconds=1.0, pace=4.8),
        QoEClassSettings(name="long", expected_ttft_seconds=1.0, pace=4.8, expected_prefill_rate=1000),
    )
)
CLASSES = QoEClasses(SETTINGS)
NAMES = st.sampled_from([b"x-andante-class", b"x-andante-pace", b"x-andante-expected-ttft", b"x-andante-", b"accept"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


def in_range(said: ClientExpectation) -> bool:
    return (said.expected_ttft is None or 0 <= said.expected_ttft <= 86_400) and (
        said.pace is None or 0.01 <= said.pace <= 1000
    )


def refused_field(read: Callable[[], ClientExpectation]) -> ClientExpectation | str:
    """What was read, or the name of the field that was refused."""
    try:
        return read()
    except BadExpectationError as error:
        return error.field


@given(st.lists(st.tuples(NAMES, st.binary(max_size=100)), max_size=5))
def test_any_header_bytes_are_taken_or_named(headers: list[tuple[bytes, bytes]]) -> None:
    said = refused_field(lambda: from_headers(headers))
    assert in_range(said) if isinstance(said, ClientExpectation) else said.lower().startswith("x-andante-")


@given(st.dictionaries(st.sampled_from([*request_args.CLIENT_KEYS, request_args.RECEIVED_AT, "other"]), JSON))
def test_any_body_value_is_taken_or_named(vllm_xargs: dict[str, Any]) -> None:
    said = refused_field(lambda: from_body(vllm_xargs))
    assert in_range(said) if isinstance(said, ClientExpectation) else said.startswith("vllm_xargs.andante_")


@pytest.mark.parametrize(
    ("header", "key", "low", "high"),
    [("x-andante-pace", "pace", 0.01, 1000.0), ("x-andante-expected-ttft", "expected_ttft", 0.0, 86_400.0)],
)
@given(number=st.floats() | st.floats(0, 1e5))
def test_any_number_is_taken_in_its_range_and_refused_elsewhere(
    header: str, key: str, low: float, high: float, number: float
) -> None:
    said: tuple[Callable[[], ClientExpectation], ...] = (
        lambda: from_headers([(header.encode(), repr(number).encode())]),
        lambda: from_body({f"andante_{key}": number}),
    )
    for read, field in zip(said, (header, f"vllm_xargs.andante_{key}"), strict=True):
        outcome = refused_field(read)
        if isinstance(outcome, ClientExpectation):
            assert getattr(outcome, key) == number
            assert low <= number <= high
        else:
            assert outcome.lower() == field
            assert not low <= number <= high


@pytest.mark.parametrize("number", ["1e-300", "5e-324", "0.009"])
def test_a_pace_that_is_nobodys_is_refused(number: str) -> None:
    for read in (
        lambda: from_headers([(b"x-andante-pace", number.encode())]),
        lambda: from_body({"andante_pace": float(number)}),
    ):
        with pytest.raises(BadExpectationError, match=r"tokens/s from 0\.01 to 1000"):
            read()


@pytest.mark.parametrize("field", ["pace", "weight", "expected_prefill_rate", "deadline_seconds"])
def test_no_class_has_a_number_that_is_nobodys(field: str) -> None:
    values = {"name": "x", "expected_ttft_seconds": 1.0, "pace": 4.8}
    for number in (1e-300, -1.0, 1e300, math.inf, math.nan):
        with pytest.raises(ValidationError, match=field):
            QoEClassSettings(**{**values, field: number})


def test_a_class_of_pace_0_is_a_batch_class() -> None:
    assert QoEClassSettings(name="x", expected_ttft_seconds=1.0, pace=0).pace == 0


OPEN = QoEClass(name="x", expected_ttft=1.0, pace=4.8, deadline=30.0, client_expectations=ClientExpectations.ALLOW)
USUAL = OPEN.expectation()


@given(
    st.dictionaries(st.sampled_from([request_args.EXPECTED_TTFT, request_args.PACE, request_args.RECEIVED_AT]), JSON)
)
def test_the_scheduler_takes_nothing_that_the_border_would_refuse(arguments: dict[str, Any]) -> None:
    taken = arguments_expectation(arguments, OPEN, prompt_tokens=0)
    assert 0 <= taken.expected_ttft <= 86_400
    assert 0.01 <= taken.pace <= 1000
    assert taken.deadline == USUAL.deadline
    assert 1.7e9 - 86_400 < arguments_arrival(arguments, now=1.7e9, otherwise=1.7e9 - 1) <= 1.7e9


@pytest.mark.parametrize("useless", ["abc", "4.8", None, True, [1], {}, 10**400, 1e-300, math.nan, -1.0])
def test_the_scheduler_takes_the_classes_values_for_what_is_no_number(useless: object) -> None:
    said = {"andante_pace": useless, "andante_expected_ttft": 2.0}
    expected = Expectation(expected_ttft=2.0, pace=4.8, deadline=30.0)
    assert arguments_expectation(said, OPEN, prompt_tokens=0) == expected


def test_a_request_is_received_when_the_middleware_says() -> None:
    assert arguments_arrival({"andante_received_at": 1.7e9}, now=1.7e9 + 3, otherwise=0.0) == 1.7e9


def test_numbers_are_read() -> None:
    headers = [(b"x-andante-class", b"long"), (b"x-andante-expected-ttft", b"0.5"), (b"x-andante-pace", b"1e1")]
    assert from_headers(headers) == ClientExpectation(qoe_class="long", expected_ttft=0.5, pace=10.0)
    assert from_body({"andante_pace": 7, "other": [1]}) == ClientExpectation(pace=7.0)


def test_a_header_given_twice_is_refused() -> None:
    with pytest.raises(BadExpectationError, match="once"):
        from_headers([(b"x-andante-pace", b"1"), (b"x-andante-pace", b"2")])


def test_the_arrival_cannot_be_claimed() -> None:
    with pytest.raises(BadExpectationError, match="andante_received_at"):
        from_body({request_args.RECEIVED_AT: 0.0})


def test_headers_go_before_the_body() -> None:
    headers, body = ClientExpectation(pace=2.0), ClientExpectation(pace=9.0, qoe_class="long")
    assert headers.over(body) == ClientExpectation(pace=2.0, qoe_class="long")


def test_who_says_nothing_is_of_the_default_class() -> None:
    resolved = CLASSES.resolve(NOTHING_SAID, prompt_tokens=10, field="f")
    assert resolved.qoe_class.name == "reading"
    assert (resolved.expectation.expected_ttft, resolved.expectation.pace) == (1.0, 4.8)


def test_a_long_prompt_may_take_longer_where_the_class_says_so() -> None:
    resolved = CLASSES.resolve(ClientExpectation(qoe_class="long"), prompt_tokens=5000, field="f")
    assert resolved.expectation.expected_ttft == pytest.approx(5.0)


def test_an_own_expectation_may_be_lower_than_a_long_prompts() -> None:
    said = ClientExpectation(qoe_class="long", expected_ttft=7.0)
    assert CLASSES.resolve(said, prompt_tokens=5000, field="f").expectation.expected_ttft == 7.0


def test_an_unknown_class_is_refused_with_those_there_are() -> None:
    refusing = QoEClasses(SETTINGS.model_copy(update={"unknown_class": "Refuse"}))
    with pytest.raises(BadExpectationError, match="reading, long"):
        refusing.resolve(ClientExpectation(qoe_class="nobody"), prompt_tokens=0, field="X-Andante-Class")


@pytest.mark.parametrize(("whole", "name"), [(False, "reading"), (True, "long")])
def test_an_unknown_class_counts_as_the_default_one_otherwise(whole: bool, name: str) -> None:
    classes = QoEClasses(SETTINGS.model_copy(update={"unstreamed": "long"}))
    resolved = classes.resolve(ClientExpectation(qoe_class="nobody"), prompt_tokens=0, field="f", whole=whole)
    assert (resolved.qoe_class.name, resolved.unknown_class) == (name, True)
    known = classes.resolve(ClientExpectation(qoe_class="long"), prompt_tokens=0, field="f", whole=whole)
    assert (known.qoe_class.name, known.unknown_class) == ("long", False)


def test_the_scheduler_learns_what_was_said_and_when() -> None:
    said = ClientExpectation(pace=3.0)
    resolved = CLASSES.resolve(said, prompt_tokens=0, field="f")
    arguments = scheduler_arguments(resolved, said, received_at=1.7e9)
    assert arguments == {"andante_class": "reading", "andante_pace": 3.0, "andante_received_at": 1.7e9}
    assert all(math.isfinite(value) for value in arguments.values() if isinstance(value, float))
