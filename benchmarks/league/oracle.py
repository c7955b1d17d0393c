"""The least that a promise can cost: the cheapest static fleet, or the best timetable made in hindsight."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from benchmarks.league.cases import Case
from benchmarks.league.hindsight import USES
from benchmarks.league.runs import MOST_REPLICAS, TARGET_GOOD, TARGET_MEAN, Result, cached

Promise = Callable[[Result], bool]


def keeps_mean(result: Result) -> bool:
    """Mean QoE as promised."""
    return result.mean_qoe >= TARGET_MEAN


def keeps_good(result: Result) -> bool:
    """Share of good requests as promised."""
    return result.share_good >= TARGET_GOOD


def cheapest_static(case: Case, promise: Promise) -> tuple[str, Result] | None:
    """The smallest static fleet that keeps the promise, by bisection; None: not even the largest one does."""
    low, high = 0, MOST_REPLICAS + 1  # too few, and enough or one more than there may be
    best = None
    while high - low > 1:
        middle = min((low + high) // 2, 2 * low + 2)  # small fleets are cheap to run
        result = cached(replace(case, scaler=f"static:{middle}", settings=()))
        if promise(result):
            best, high = (f"static:{middle}", result), middle
        else:
            low = middle
    return best


def best_in_hindsight(case: Case, promise: Promise) -> tuple[str, Result] | None:
    """The cheapest timetable that keeps the promise; those that give out less of a replica cost more."""
    for use in reversed(USES):
        name = f"hindsight:{use:g}"
        result = cached(replace(case, scaler=name, settings=()))
        if promise(result):
            return name, result
    return None


def oracle(case: Case, promise: Promise) -> tuple[str, Result] | None:
    """The cheaper of the two."""
    found = [one for one in (cheapest_static(case, promise), best_in_hindsight(case, promise)) if one is not None]
    return min(found, key=lambda one: one[1].replica_hours, default=None)
