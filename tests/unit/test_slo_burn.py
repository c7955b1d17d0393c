"""Thresholds of the burn-rate alerts, against a table worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andante.domain.slo.burn import MINUTE, BurnTier, burn_tiers, duration, fires
from andante.domain.slo.promise import DAY, HOUR, Promise

MONTH = Promise(good_fraction=0.99, window=28 * DAY)


def test_the_tiers_of_99_percent_over_28_days() -> None:
    rows = [
        (t.tier, t.severity, t.long, t.short, round(t.ratio, 9), t.least_bad, t.budget_share) for t in burn_tiers(MONTH)
    ]
    assert rows == [
        ("fast", "critical", HOUR, 5 * MINUTE, 0.06, 4.5, 0.01),
        ("slow", "critical", 6 * HOUR, 30 * MINUTE, 0.03, 4.5, 0.025),
        ("trend", "warning", 3 * DAY, 6 * HOUR, 0.01, 10.0, 0.10),
    ]


@pytest.mark.parametrize(
    ("window", "long", "short"),
    [(DAY, DAY / 28, DAY / 28 / 12), (3 * DAY, 3 * DAY / 28, 3 * DAY / 28 / 12), (6.9 * DAY, 6.9 * DAY / 28, None)],
)
def test_a_window_below_a_week_has_one_tier_in_proportion(window: float, long: float, short: float | None) -> None:
    (tier,) = burn_tiers(Promise(good_fraction=0.99, window=window))
    assert (tier.tier, tier.long) == ("fast", pytest.approx(long))
    assert tier.short == pytest.approx(max(120.0, short or tier.long / 12))


@pytest.mark.parametrize(
    "promise", [Promise(good_fraction=0.99, window=12 * HOUR), Promise(good_fraction=1, window=28 * DAY)]
)
def test_no_alert_where_none_could_help(promise: Promise) -> None:
    assert burn_tiers(promise) == ()


def test_a_loose_promise_pages_at_half_of_the_requests() -> None:
    fast, slow, trend = burn_tiers(Promise(good_fraction=0.8, window=28 * DAY))
    assert (fast.ratio, slow.ratio, trend.ratio) == (0.5, 0.5, pytest.approx(0.2))


def _fast() -> BurnTier:
    return burn_tiers(MONTH)[0]


@pytest.mark.parametrize(
    ("bad", "total", "short_ratio", "expected"),
    [
        (5, 10, 0.5, True),  # a quiet service, half of it bad
        (4, 4, 1.0, False),  # four are no page
        (5, 100, 0.5, False),  # 5 % is below six times the budget
        (7, 100, 0.01, False),  # it is over
        (7, 100, 0.07, True),
    ],
)
def test_when_the_fast_page_fires(bad: float, total: float, short_ratio: float, expected: bool) -> None:
    said = fires(_fast(), MONTH, long_bad=bad, long_total=total, short_ratio=short_ratio, requests=2_000)
    assert said is expected


def test_a_small_share_of_a_large_budget_is_no_page() -> None:
    # 3,000 requests an hour for 28 days allow 20,160 bad ones; 1 % of them are 201.6.
    requests = 3_000 * 24 * 28
    seen = {
        bad: fires(_fast(), MONTH, long_bad=bad, long_total=3_000, short_ratio=1, requests=requests)
        for bad in (201, 202)
    }
    assert seen == {201: False, 202: True}


@given(st.floats(0.5, 0.9999), st.floats(DAY, 90 * DAY))
def test_thresholds_are_shares_and_the_short_window_is_the_shorter(good: float, window: float) -> None:
    for tier in burn_tiers(Promise(good_fraction=good, window=window)):
        assert 0 < tier.ratio <= 0.5
        assert 120 <= tier.short < tier.long <= window
        assert 0 < tier.budget_share < 1


@pytest.mark.parametrize(
    ("seconds", "text"), [(300, "5m"), (3600, "1h"), (259_200, "3d"), (90, "90s"), (128.57, "129s")]
)
def test_durations_as_promql_writes_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text
