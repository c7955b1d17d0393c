"""What a client may say of itself: any bytes, any JSON value end in an expectation or an error that names a field."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andante.engine_config import QoEClassSettings, QoESettings
from andante_vllm import request_args
from andante_vllm.expectations import (
    NOTHING_SAID,
    BadExpectationError,
    ClientExpectation,
    QoEClasses,
    from_body,
    from_headers,
    scheduler_arguments,
)

CLASSES = QoEClasses(
    QoESettings(
        classes=(
            QoEClassSettings(name="reading", expected_ttft_seconds=1.0, pace=4.8),
            QoEClassSettings(name="long", expected_ttft_seconds=1.0, pace=4.8, expected_prefill_rate=1000),
        )
    )
)
NAMES = st.sampled_from([b"x-andante-class", b"x-andante-pace", b"x-andante-expected-ttft", b"x-andante-", b"accept"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


def in_range(said: ClientExpectation) -> bool:
    return (said.expected_ttft is None or 0 <= said.expected_ttft <= 86_400) and (
        said.pace is None or 0 < said.pace <= 1000
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


def test_an_own_expectation_replaces_the_classes() -> None:
    said = ClientExpectation(qoe_class="long", expected_ttft=0.2)
    assert CLASSES.resolve(said, prompt_tokens=5000, field="f").expectation.expected_ttft == 0.2


def test_an_unknown_class_is_refused_with_those_there_are() -> None:
    with pytest.raises(BadExpectationError, match="reading, long"):
        CLASSES.resolve(ClientExpectation(qoe_class="nobody"), prompt_tokens=0, field="X-Andante-Class")


def test_the_scheduler_learns_what_was_said_and_when() -> None:
    said = ClientExpectation(pace=3.0)
    resolved = CLASSES.resolve(said, prompt_tokens=0, field="f")
    arguments = scheduler_arguments(resolved, said, received_at=1.7e9)
    assert arguments == {"andante_class": "reading", "andante_pace": 3.0, "andante_received_at": 1.7e9}
    assert all(math.isfinite(value) for value in arguments.values() if isinstance(value, float))
