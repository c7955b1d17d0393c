"""What the league's runs say: who keeps the promise for how many replica-hours, and how ours stands. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from benchmarks.league.promise import Promise
from benchmarks.league.tuning import Run, accepted

UNKNOWN = "not played"


class Played(Run):
    """What a run cost and gave."""

    @property
    def smooth_goodput(self) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One player on one workload; means over the seeds."""

    hours: float
    """Replica-hours, warm-up and drain included."""
    hours_range: tuple[float, float]
    """The least and the most of the seeds."""
    mean_qoe: float
    share_good: float
    smooth_goodput: float
    """Tokens per second."""
    turns: float
    """Changes of direction."""
    seconds: float
    seeds: int

    @classmethod
    def of(cls, runs: Sequence[Played]) -> Score:
        """The score of runs that differ in their seed only; at least one."""
        hours = [run.replica_hours for run in runs]
        return cls(
            hours=fmean(hours),
            hours_range=(min(hours), max(hours)),
            mean_qoe=fmean(run.mean_qoe for run in runs),
            share_good=fmean(run.share_good for run in runs),
            smooth_goodput=fmean(run.smooth_goodput for run in runs),
            turns=fmean(run.turns for run in runs),
            seconds=fmean(run.seconds for run in runs),
            seeds=len(runs),
        )

    def met(self, promise: Promise) -> bool:
        """Whether the promise was kept, with few enough changes of direction."""
        return promise.kept(self) and self.turns <= accepted(self.seconds)


Scores = Mapping[str, Mapping[str, Score]]
"""By player and workload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """One player with one configuration on all workloads."""

    player: str
    hours: float
    met: int
    """Workloads on which it keeps the promise."""


def total(player: str, scores: Mapping[str, Score], promise: Promise, workloads: Iterable[str]) -> Total | None:
    """The sum over `workloads`; None where one of them was not played."""
    found = [scores.get(workload) for workload in workloads]
    known = [score for score in found if score is not None]
    if not known or len(known) < len(found):
        return None
    return Total(player=player, hours=sum(s.hours for s in known), met=sum(s.met(promise) for s in known))


def best(totals: Iterable[Total | None], *, at_least: int) -> Total | None:
    """The cheapest of those that keep the promise on `at_least` workloads; else of those that keep it on most."""
    known = [one for one in totals if one is not None]
    if not known:
        return None
    asked = min(at_least, max(one.met for one in known))
    return min((one for one in known if one.met >= asked), key=lambda one: one.hours)


def ratio(ours: float | None, theirs: float | None) -> float | None:
    """`ours` over `theirs`, rounded; None where one is not known."""
    if ours is None or theirs is None or not math.isfinite(ours / theirs):
        return None
    return round(ours / theirs, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """All scores under one promise, warm-up and patience."""

    promise: Promise
    ours: str
    installable: Sequence[str]
    with_our_capacity: Sequence[str]
    scores: Mapping[str, Scores]
    """By scheduler (`qoe`, `stock`), then player and workload."""
    oracle: Mapping[str, Mapping[str, float | None]]
    """Replica-hours by scheduler and workload; None: no fleet kept the promise. A workload that is missing was not
    played."""

    def headline(self, workloads: Sequence[str]) -> dict[str, object]:
        """How ours stands on `workloads` together, each player with its one configuration."""
        ours = self._total("qoe", self.ours, workloads)
        ours_on_stock = self._total("stock", self.ours, workloads)
        met = ours.met if ours else len(workloads)
        rival = self._best("qoe", self.installable, workloads, met)
        planner = self._best("qoe", self.with_our_capacity, workloads, met)
        # The rival on stock scheduling must keep what the cheapest of all keeps there, not what ours keeps with `qoe`.
        stock_rival = self._best("stock", self.installable, workloads, ours_on_stock.met if ours_on_stock else 0)
        oracle = [self.oracle.get("qoe", {}).get(workload) for workload in workloads]
        least = sum(one for one in oracle if one is not None) if oracle and None not in oracle else None
        hours = ours.hours if ours else None
        return {
            "gpu_hours": None if ours is None else round(ours.hours, 3),
            "keeps_promise_on": None if ours is None else ours.met,
            "of_workloads": len(workloads),
            "gpu_hours_over_best_tuned_rival": ratio(hours, rival.hours if rival else None),
            "best_rival": rival.player if rival else None,
            "best_rival_keeps_promise_on": rival.met if rival else None,
            "gpu_hours_over_planner_with_our_capacity": ratio(hours, planner.hours if planner else None),
            "planner_with_our_capacity_keeps_promise_on": planner.met if planner else None,
            "gpu_hours_over_oracle": ratio(hours, least),
            "scheduler_alone": ratio(rival.hours if rival else None, stock_rival.hours if stock_rival else None),
            "scaler_alone": ratio(ours_on_stock.hours if ours_on_stock else None,
                                  stock_rival.hours if stock_rival else None),
            "both": ratio(hours, stock_rival.hours if stock_rival else None),
            "best_rival_on_stock": stock_rival.player if stock_rival else None,
            "ours_on_stock_keeps_promise_on": ours_on_stock.met if ours_on_stock else None,
            "best_rival_on_stock_keeps_promise_on": stock_rival.met if stock_rival else None,
        }  # fmt: skip

    def _total(self, scheduler: str, player: str, workloads: Sequence[str]) -> Total | None:
        return total(player, self.scores.get(scheduler, {}).get(player, {}), self.promise, workloads)

    def _best(self, scheduler: str, players: Iterable[str], workloads: Sequence[str], met: int) -> Total | None:
        return best((self._total(scheduler, player, workloads) for player in players), at_least=met)
