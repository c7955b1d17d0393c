"""Thresholds of the burn-rate alerts, as data: how fast an error budget may go before a person is told. Pure.

After Google's SRE workbook, chapter 5 (multiwindow, multi-burn-rate alerts), with two changes. A page needs a number of
bad requests and a share of the whole budget, not a minimum of traffic, which would silence a quiet service's outage; in
return the burn rates may be lower, so that a fault is seen sooner.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from andante.domain.slo.promise import DAY, HOUR, Promise

MINUTE: Final = 60.0
LEAST_BAD: Final = 5.0
"""Bad requests below which no page is worth a night. Half a one less in the rules: Prometheus extrapolates counts."""
MOST_RATIO: Final = 0.5
"""A promise so loose that six times its budget is more than this pages at half of all requests."""
LEAST_WINDOW: Final = DAY
"""A promise over less is no matter for burn rates: whoever is told has no time to act."""
WHOLE_WEEK: Final = 7 * DAY

Severity = Literal["critical", "warning"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BurnTier:
    """One alert: fires while both windows have more than `ratio` of bad requests, and the long one enough of them."""

    alert: str
    tier: Literal["fast", "slow", "trend"]
    severity: Severity
    long: float
    """Seconds."""
    short: float
    """Seconds; ends the alert soon after the fault has ended."""
    ratio: float
    """Share of bad requests, in (0, 1)."""
    least_bad: float
    """Bad requests in the long window, at least."""
    budget_share: float
    """Share of the whole window's budget that the long window must have burnt."""


def burn_tiers(promise: Promise) -> tuple[BurnTier, ...]:
    """The alerts of a promise, the most urgent first; none where its window is below a day or nothing may be bad."""
    bad = promise.bad_share
    if promise.window < LEAST_WINDOW or bad == 0:
        return ()
    week = promise.window >= WHOLE_WEEK
    long = HOUR if week else max(promise.window / 28, 15 * MINUTE)
    fast = BurnTier(
        alert="AndanteQoEBudgetBurnFast",
        tier="fast",
        severity="critical",
        long=long,
        short=5 * MINUTE if week else max(long / 12, 2 * MINUTE),
        ratio=min(6 * bad, MOST_RATIO),
        least_bad=LEAST_BAD - 0.5,
        budget_share=0.01,
    )
    if not week:
        return (fast,)
    slow = BurnTier(
        alert="AndanteQoEBudgetBurnSlow",
        tier="slow",
        severity="critical",
        long=6 * HOUR,
        short=30 * MINUTE,
        ratio=min(3 * bad, MOST_RATIO),
        least_bad=LEAST_BAD - 0.5,
        budget_share=0.025,
    )
    trend = BurnTier(
        alert="AndanteQoEBudgetBurnTrend",
        tier="trend",
        severity="warning",
        long=3 * DAY,
        short=6 * HOUR,
        ratio=min(bad, MOST_RATIO),
        least_bad=2 * LEAST_BAD,
        budget_share=0.10,
    )
    return (fast, slow, trend)


def fires(
    tier: BurnTier, promise: Promise, *, long_bad: float, long_total: float, short_ratio: float, requests: float
) -> bool:
    """Whether the alert fires: what its rule says, for simulations and tests.

    `long_bad` of `long_total` requests of the long window were bad, `short_ratio` of the short one's; `requests`: those
    of the promise's whole window.
    """
    return (
        long_bad >= tier.least_bad
        and long_bad > tier.budget_share * promise.budget(requests)
        and long_total > 0
        and long_bad / long_total > tier.ratio
        and short_ratio > tier.ratio
    )


def duration(seconds: float) -> str:
    """As PromQL writes it: 5m, 1h, 3d; whole seconds."""
    whole = round(seconds)
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        if whole and whole % length == 0:
            return f"{whole // length}{unit}"
    return f"{whole}s"
