"""Durations of the resource: text to seconds and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andante.api.values import Duration, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1), ("200ms", 0.2), ("10m", 600), ("28d", 28 * 86_400), ("1h30m", 5400), ("1m30.5s", 90.5), ("0s", 0)],
)
def test_reads_what_kubernetes_users_write(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "1", "s", "-1s", "1 s", "1w", "1d12h", "30s1m", "1e3s", "٣s", "1s\n", "NaNs"])
def test_refuses_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="200ms, 1s"):
        parse_duration(text)


@given(st.integers(0, 90 * 86_400_000))
def test_text_of_whole_milliseconds_reads_back_the_same(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds / 1000)) == pytest.approx(milliseconds / 1000, abs=1e-9)


def test_bounds_are_part_of_the_type() -> None:
    with pytest.raises(ValueError, match="from 1s to 1d"):
        Duration(minimum="1s", maximum="1d").parse("2d")
