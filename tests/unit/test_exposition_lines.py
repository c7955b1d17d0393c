"""The wanted lines of a pod's metrics: read as Prometheus reads them, within bounds, whatever the pod sends."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from andante.adapters.exposition_lines import MAX_BYTES, MAX_LINE_BYTES, MAX_LINES, TextError, WantedLines

WANTED = ("andante_a", "andante_b_total")


def readings(text: bytes, *, piece: int = 1 << 16) -> list[tuple[str, dict[str, str], float]]:
    lines = WantedLines(WANTED)
    for start in range(0, len(text), piece):
        lines.feed(text[start : start + piece])
    return list(lines.readings())


@given(
    values=st.lists(st.tuples(st.text(max_size=40), st.floats()), max_size=8),
    piece=st.integers(1, 200),
)
def test_it_reads_what_prometheus_reads(values: list[tuple[str, float]], piece: int) -> None:
    registry = CollectorRegistry()
    wanted, other = (Gauge(name, 'some "help"', ("k", "l"), registry=registry) for name in ("andante_a", "andante_ab"))
    for label, value in values:
        wanted.labels(label, "x").set(value)
        other.labels(label, "x").set(value)
    text = generate_latest(registry)
    families = text_string_to_metric_families(text.decode())
    theirs = [(s.name, s.labels, s.value) for family in families for s in family.samples if s.name == "andante_a"]
    ours = readings(text, piece=piece)
    assert [(name, labels) for name, labels, _ in ours] == [(name, labels) for name, labels, _ in theirs]
    assert all(a == b or (math.isnan(a) and math.isnan(b)) for (*_, a), (*_, b) in zip(ours, theirs, strict=True))


@given(st.binary(max_size=300), st.integers(1, 300))
def test_any_bytes_are_read_or_refused(tail: bytes, piece: int) -> None:
    try:
        found = readings(b'andante_a{k="' + tail, piece=piece)
    except TextError:
        return
    assert all(name in WANTED for name, *_ in found)


def test_a_timestamp_is_left_aside() -> None:
    assert readings(b'andante_a{k="v",} 3 1700000000000\n') == [("andante_a", {"k": "v"}, 3.0)]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (b"x" * (MAX_BYTES + 1), "larger than"),
        (b"andante_a 1\n" * (MAX_LINES + 1), "lines"),
        (b'andante_a{k="' + b"\\\\" * MAX_LINE_BYTES + b'"} 1\n', "longer than"),
        (b'andante_a{k="' + b"y" * MAX_LINE_BYTES, "longer than"),
        (b'andante_a{k="v} 1\n', "not Prometheus text"),
        (b"andante_a\n", "not Prometheus text"),
        (b"andante_a one\n", "not Prometheus text"),
    ],
)
def test_what_is_too_much_or_no_text_says_so(text: bytes, word: str) -> None:
    with pytest.raises(TextError, match=word):
        readings(text)


def test_a_long_line_of_somebody_else_is_passed_over() -> None:
    text = b'vllm:x{l="' + b"z" * 50_000 + b'andante_a 7"} 1\nandante_a 2\n'
    assert readings(text, piece=1000) == [("andante_a", {}, 2.0)]


def test_a_label_of_any_length_is_cut() -> None:
    ((_, labels, _),) = readings(b'andante_a{k="' + b"v" * 1000 + b'"} 1\n')
    assert labels == {"k": "v" * 256}
