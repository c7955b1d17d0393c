"""What the league plays, in which order, and how a law is tuned: all of it from kept runs where they exist."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from benchmarks.league import runs
from benchmarks.league.cases import PROFILES, WORKLOADS, Case
from benchmarks.league.oracle import oracle
from benchmarks.league.players import Player
from benchmarks.league.promise import Promise
from benchmarks.league.runs import Result
from benchmarks.league.tuning import Tuned, cost, tune

from andante.sim.workloads.catalogue import Half

TUNING_SEED = 1
JUDGING_SEEDS = (11, 12, 13)
TUNED_ON = ("flash-crowd", "azure-code", "azure-conversation", "step", "mooncake", "azure-week")
"""Workloads in the order in which settings fail soonest: a setting that is worse than the best is played no further."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What is the same for all players of one table."""

    warmup: str = "100"
    scheduler: str = "qoe"
    patience: float | None = None
    promise: Promise = Promise.MEAN_QOE

    def case(self, scaler: str, workload: str, *, half: Half = Half.JUDGING, seed: int) -> Case:
        """A case under these conditions."""
        return Case(
            scaler=scaler, workload=workload, half=half, warmup=self.warmup, scheduler=self.scheduler,
            patience=self.patience, seed=seed, profile=PROFILES[workload],
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is played."""

    conditions: Sequence[Conditions]
    players: Sequence[Player]
    seeds: Sequence[int]
    budget: int
    """Settings that are tried for each law, under each of the conditions; 1: the authors', and nothing is tuned."""
    workloads: Sequence[str] = WORKLOADS


@cache
def tuned(player: Player, at: Conditions, budget: int) -> Tuned:
    """The one configuration of `player` for all workloads, found on the halves that are not judged."""

    def evaluate(settings: Mapping[str, float], enough: float) -> float:
        scaler = player.scaler(at.promise, settings)
        segments = (runs.cached(at.case(scaler, workload, half=Half.TUNING, seed=TUNING_SEED)) for workload in TUNED_ON)
        return cost(segments, at.promise, enough=enough)

    parameters, defaults = player.parameters(at.promise), player.defaults(at.promise)
    if not parameters or budget == 1:
        return Tuned(settings={}, cost=math.nan, default_cost=math.nan, evaluations=0)
    return tune(parameters, defaults, evaluate, budget=budget, seed=TUNING_SEED)


def judged(player: Player, at: Conditions, workload: str, seed: int, budget: int) -> Result:
    """What the tuned player reaches on a half that it was not tuned on."""
    scaler = player.scaler(at.promise, tuned(player, at, budget).settings)
    return runs.cached(at.case(scaler, workload, seed=seed))


def default(player: Player, at: Conditions, workload: str, seed: int) -> Result:
    """What the player reaches with its authors' settings."""
    return runs.cached(at.case(player.scaler(at.promise, {}), workload, seed=seed))


def reference(at: Conditions, workload: str, seed: int) -> tuple[str, Result] | None:
    """What the promise costs in hindsight."""
    return oracle(at.case("", workload, seed=seed), at.promise)


@dataclass(frozen=True, slots=True)
class Task:
    """A part of the season that can be played by itself; its runs are kept."""

    name: str
    games: int
    """About how many runs it has."""
    play: Callable[..., object]
    arguments: tuple[object, ...]

    def __call__(self) -> None:
        self.play(*self.arguments)


def tasks(plan: Plan) -> Iterator[list[Task]]:
    """Stages, the most telling first; tasks of one stage do not wait for each other."""
    return _tuned_season(plan) if plan.budget > 1 else _quick_season(plan)


def _tuned_season(plan: Plan) -> Iterator[list[Task]]:
    """First what each can do at its best, then hindsight, then the authors' settings, then other seeds."""
    for at in plan.conditions:
        yield [
            Task(f"tune {p.name}, {words(at)}", plan.budget * len(TUNED_ON) // 2, tuned, (p, at, plan.budget))
            for p in plan.players
            if p.tuned
        ]
        yield list(_judged(plan, (at,), plan.seeds[:1]))
        yield list(_references(plan, (at,), plan.seeds[:1]))
    yield list(_defaults(plan, plan.seeds[:1]))
    for seed in plan.seeds[1:]:
        yield [*_judged(plan, plan.conditions, (seed,)), *_defaults(plan, (seed,))]
        yield list(_references(plan, plan.conditions, (seed,)))


def _quick_season(plan: Plan) -> Iterator[list[Task]]:
    """Without tuning: one workload after the other, under all conditions."""
    for seed in plan.seeds:
        for workload in plan.workloads:
            here = replace(plan, workloads=(workload,))
            yield list(_defaults(here, (seed,)))
            yield list(_references(here, plan.conditions, (seed,)))


def _defaults(plan: Plan, seeds: Iterable[int]) -> Iterator[Task]:
    for at in plan.conditions:
        for seed in seeds:
            for workload in plan.workloads:
                for p in plan.players:
                    yield Task(f"{p.name} as it comes, {workload}, {words(at)}", 1, default, (p, at, workload, seed))


def _judged(plan: Plan, conditions: Iterable[Conditions], seeds: Iterable[int]) -> Iterator[Task]:
    for at in conditions:
        for seed in seeds:
            for workload in plan.workloads:
                for p in plan.players:
                    yield Task(
                        f"{p.name} tuned, {workload}, {words(at)}", 1, judged, (p, at, workload, seed, plan.budget)
                    )


def _references(plan: Plan, conditions: Iterable[Conditions], seeds: Iterable[int]) -> Iterator[Task]:
    for at in conditions:
        for seed in seeds:
            for workload in plan.workloads:
                yield Task(f"hindsight, {workload}, {words(at)}", 8, reference, (at, workload, seed))


def words(at: Conditions) -> str:
    """The conditions in words."""
    patience = "" if at.patience is None else f", patience {at.patience:g} s"
    return f"{at.promise.value}, {at.scheduler}, warm-up {at.warmup} s{patience}"
