"""The ledger of an error budget, against sums worked out by hand."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andante.domain.slo.ledger import HOURS_KEPT, VERSION, Ledger, NothingCounted, Spent, TooFewRequests
from andante.domain.slo.promise import DAY, HOUR, Promise

START = 20_000 * DAY
PROMISE = Promise(good_fraction=0.99, window=28 * DAY)


def _ledger(*counts: tuple[float, float, float], epoch: str = "a", window: float = 28 * DAY) -> Ledger:
    """Of (hours after the start, bad, total)."""
    ledger = Ledger()
    for hours, bad, total in counts:
        ledger = ledger.add(at=START + hours * HOUR, bad=bad, total=total, epoch=epoch, window=window)
    return ledger


def _spent(ledger: Ledger, *, hours: float, promise: Promise = PROMISE) -> Spent:
    found = ledger.spent(promise, now=START + hours * HOUR)
    assert isinstance(found, Spent)
    return found


@pytest.mark.parametrize(
    ("bad", "total", "remaining"),
    [(0, 1000, 1.0), (5, 1000, 0.5), (10, 1000, 0.0), (30, 1000, -2.0), (1, 10_000, 0.99)],
)
def test_what_remains_is_the_share_of_the_budget_that_is_not_spent(bad: int, total: int, remaining: float) -> None:
    assert _spent(_ledger((0, bad, total)), hours=1).remaining == pytest.approx(remaining)


def test_what_left_the_window_no_longer_counts() -> None:
    ledger = _ledger((0, 9, 1000), (28 * 24, 0, 1000))
    assert _spent(ledger, hours=28 * 24 - 1).remaining == pytest.approx(0.1)
    assert _spent(ledger, hours=30 * 24).remaining == 1


def test_a_day_that_the_window_cuts_counts_in_part() -> None:
    promise = Promise(good_fraction=0.99, window=7 * DAY)
    ledger = _ledger((1, 24, 2400), *((hour, 0, 100) for hour in range(24, 24 * 7, 24)), window=7 * DAY)
    # At 7.5 days half of the first day, which has become one sum, is outside.
    spent = _spent(ledger, hours=7.5 * 24, promise=promise)
    assert (spent.bad, spent.total) == (pytest.approx(12), pytest.approx(1200 + 600))


def test_few_requests_say_nothing_until_one_bad_is_more_than_the_budget() -> None:
    assert _ledger((0, 0, 99)).spent(PROMISE, now=START + HOUR) == TooFewRequests(total=99)
    assert _spent(_ledger((0, 1, 50)), hours=1).remaining == -1
    assert Ledger().spent(PROMISE, now=START) == NothingCounted()


def test_nothing_may_be_bad_where_everything_is_promised() -> None:
    strict = Promise(good_fraction=1.0, window=DAY)
    assert _spent(_ledger((0, 1, 50)), hours=1, promise=strict).remaining == 0
    assert _ledger((0, 0, 50)).spent(strict, now=START + HOUR) == Spent(
        bad=0, total=50, remaining=1.0, exhausted_in=None
    )


def test_the_end_of_the_budget_is_told_by_the_last_hours() -> None:
    # 10,000 requests allow 100 bad ones. In the last 6 hours 18 of 600 were bad, 12 more than they allow: 2 an hour.
    ledger = _ledger((0, 0, 9_400), *((hour, 3, 100) for hour in range(18, 24)))
    spent = _spent(ledger, hours=24)
    assert spent.remaining == pytest.approx(0.82)
    assert spent.exhausted_in == pytest.approx(82 / 2 * HOUR)


def test_a_healthy_service_has_no_end_in_sight() -> None:
    assert _spent(_ledger((0, 1, 10_000)), hours=1).exhausted_in is None


def test_another_meaning_of_good_begins_anew() -> None:
    ledger = _ledger((0, 50, 1000)).add(at=START + HOUR, bad=0, total=1000, epoch="b")
    assert _spent(ledger, hours=2).remaining == 1


def test_the_future_is_not_believed() -> None:
    state = _ledger((0, 5, 1000), (48, 900, 1000)).to_state()
    ledger = Ledger.from_state(VERSION, state, now=START + HOUR)
    assert _spent(ledger, hours=1).remaining == pytest.approx(0.5)


@pytest.mark.parametrize(
    "state",
    [
        {"hours": [[0, 5, 3]]},
        {"hours": [[0, "x", 3]]},
        {"hours": [[0, float("nan"), 3]]},
        {"hours": [[0, 1e308, 1e308], [1, 1e308, 1e308]]},
        {"newest": -1e308, "hours": [[0, 0, 1]]},
        {"days": 7},
        {"hours": [[1]]},
    ],
)
def test_a_broken_state_is_an_empty_ledger(state: dict[str, object]) -> None:
    assert Ledger.from_state(VERSION, state, now=START).spans == ()


def test_the_largest_counts_that_are_believed_have_a_finite_budget() -> None:
    hours = [[age, 9e14, 9e14] for age in range(HOURS_KEPT)]
    state = {"newest": START / HOUR, "hours": hours, "days": [[24 * age, 9e14, 9e14] for age in range(3, 90)]}
    ledger = Ledger.from_state(VERSION, state, now=START + HOUR)
    assert math.isfinite(_spent(ledger, hours=1).remaining)
    json.dumps(ledger.to_state(), allow_nan=False)


def test_28_days_fit_into_2_kb() -> None:
    ledger = _ledger(*((hour, 1234.5, 98_765) for hour in range(60 * 24)))
    assert len(json.dumps(ledger.to_state(), separators=(",", ":"))) < 2048


COUNTS = st.lists(st.tuples(st.integers(0, 40 * 24), st.integers(0, 20), st.integers(0, 50)), max_size=60)


@given(COUNTS)
def test_no_request_is_lost_or_counted_twice_within_the_window(counts: list[tuple[int, int, int]]) -> None:
    promise = Promise(good_fraction=0.9, window=90 * DAY)
    ledger = _ledger(*((hours, bad, bad + good) for hours, bad, good in counts), window=90 * DAY)
    bad, total = ledger._counted(START - DAY, START + 41 * DAY)
    assert (bad, total) == (
        pytest.approx(sum(bad for _, bad, _ in counts)), pytest.approx(sum(bad + good for _, bad, good in counts))
    )  # fmt: skip
    assert promise.budget(total) == pytest.approx(0.1 * total)


@given(COUNTS)
def test_a_restart_of_the_operator_changes_nothing(counts: list[tuple[int, int, int]]) -> None:
    ledger = _ledger(*((hours, bad, bad + good) for hours, bad, good in sorted(counts)))
    now = START + 41 * DAY
    again = Ledger.from_state(VERSION, json.loads(json.dumps(ledger.to_state())), now=now)
    assert again.spent(PROMISE, now=now) == ledger.spent(PROMISE, now=now)
