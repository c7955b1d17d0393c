"""The league's yardstick: the cheaper of the smallest static fleet and a timetable that knew all arrivals.

Nothing cheaper was looked for: a better timetable may exist. Both are found by bisection, as if a larger fleet always
served better.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.league.cases import Case
from benchmarks.league.hindsight import USES
from benchmarks.league.promise import Promise
from benchmarks.league.runs import MOST_REPLICAS, Result, cached


def smallest_static(case: Case, promise: Promise) -> tuple[str, Result] | None:
    """The smallest static fleet found that keeps the promise; None: not even the largest one does."""
    low, high = 0, MOST_REPLICAS + 1  # too few, and enough or one more than there may be
    best = None
    while high - low > 1:
        middle = min((low + high) // 2, 2 * low + 2)  # small fleets are cheap to run
        result = cached(replace(case, scaler=f"static:{middle}"))
        if promise.kept(result):
            best, high = (f"static:{middle}", result), middle
        else:
            low = middle
    return best


def best_in_hindsight(case: Case, promise: Promise) -> tuple[str, Result] | None:
    """The timetable found that keeps the promise and gives out most of each replica; None: none of them does."""
    low, high = -1, len(USES)  # keeps the promise or is none, and does not or is none
    best = None
    while high - low > 1:
        middle = (low + high) // 2
        name = f"hindsight:{USES[middle]:g}"
        result = cached(replace(case, scaler=name))
        if promise.kept(result):
            best, low = (name, result), middle
        else:
            high = middle
    return best


def oracle(case: Case, promise: Promise) -> tuple[str, Result] | None:
    """The cheaper of the two."""
    found = [one for one in (smallest_static(case, promise), best_in_hindsight(case, promise)) if one is not None]
    return min(found, key=lambda one: one[1].replica_hours, default=None)
