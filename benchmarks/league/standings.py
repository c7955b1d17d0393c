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


def ratio(one: float | None, other: float | None) -> float | None:
    """`one` over `other`, rounded; None where one is not known."""
    if one is None or other is None or not math.isfinite(one / other):
        return None
    return round(one / other, 3)


def at_equal_quality(one: Total | None, other: Total | None) -> float | None:
    """The hours of `one` over those of `other`; None where one is not known, or `one` keeps the promise less often."""
    if one is None or other is None or one.met < other.met:
        return None
    return ratio(one.hours, other.hours)


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
        """How ours stands on `workloads` together, each player with its one configuration.

        The rivals are the cheapest of those that keep the promise on most workloads, under `stock` of those that keep
        it as often as the best rival does under `qoe`, where one does.
        """
        ours = self._total("qoe", self.ours, workloads)
        ours_on_stock = self._total("stock", self.ours, workloads)
        rivals = [self._total("qoe", player, workloads) for player in self.installable]
        # Nothing is cheap that keeps less than others can.
        most = max((one.met for one in (ours, *rivals) if one is not None), default=0)
        rival = best(rivals, at_least=most)
        planner = self._best("qoe", self.with_our_capacity, workloads, most)
        same_on_stock = self._total("stock", rival.player, workloads) if rival else None
        stock_rival = self._best("stock", self.installable, workloads, rival.met if rival else len(workloads))
        oracle = [self.oracle.get("qoe", {}).get(workload) for workload in workloads]
        least = sum(one for one in oracle if one is not None) if oracle and None not in oracle else None
        return {
            "gpu_hours": None if ours is None else round(ours.hours, 3),
            "keeps_promise_on": None if ours is None else ours.met,
            "of_workloads": len(workloads),
            "gpu_hours_over_best_tuned_rival": at_equal_quality(ours, rival),
            "best_rival": rival.player if rival else None,
            "best_rival_keeps_promise_on": rival.met if rival else None,
            "gpu_hours_over_planner_with_our_capacity": at_equal_quality(ours, planner),
            "planner_with_our_capacity_keeps_promise_on": planner.met if planner else None,
            "gpu_hours_over_oracle": ratio(ours.hours if ours else None, least),
            "scheduler_alone": at_equal_quality(rival, same_on_stock),
            "scaler_alone": at_equal_quality(ours_on_stock, stock_rival),
            "both": at_equal_quality(ours, stock_rival),
            "same_rival_on_stock_keeps_promise_on": same_on_stock.met if same_on_stock else None,
            "best_rival_on_stock": stock_rival.player if stock_rival else None,
            "ours_on_stock_keeps_promise_on": ours_on_stock.met if ours_on_stock else None,
            "best_rival_on_stock_keeps_promise_on": stock_rival.met if stock_rival else None,
        }  # fmt: skip

    def _total(self, scheduler: str, player: str, workloads: Sequence[str]) -> Total | None:
        return total(player, self.scores.get(scheduler, {}).get(player, {}), self.promise, workloads)

    def _best(self, scheduler: str, players: Iterable[str], workloads: Sequence[str], met: int) -> Total | None:
        return best((self._total(scheduler, player, workloads) for player in players), at_least=met)
