"""Makes the league's tables from its kept runs, and writes benchmarks/results/league.json and .md."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.league import runs, season
from benchmarks.league.players import OURS, WITH_OUR_CAPACITY, Player
from benchmarks.league.promise import Promise
from benchmarks.league.runs import NotPlayedError, Result
from benchmarks.league.season import Conditions, Plan
from benchmarks.league.standings import Score, Table
from benchmarks.results_file import write_result

COLUMNS = (
    "promise", "warm-up", "patience", "scheduler", "workload", "who", "settings", "replica-hours", "over ours",
    "over hindsight", "mean QoE", "good", "smooth tokens/s", "turns", "keeps it",
)  # fmt: skip


def write(plan: Plan, *, name: str, command: str) -> Path:
    """Write what is played of `plan`; nothing is run."""
    with runs.only_kept():
        return _write(plan, name=name, command=command)


def _write(plan: Plan, *, name: str, command: str) -> Path:
    tables = {group: _table(plan, group) for group in _groups(plan)}
    headline: dict[str, Any] = {"complete": _complete(plan), "tuned": plan.budget > 1}
    for (warmup, patience, promise), table in tables.items():
        place = headline.setdefault(promise.value, {}).setdefault(_warmup(warmup, patience), {})
        for workload in plan.workloads:
            place[workload] = table.headline((workload,))
        place["pooled_one_configuration"] = table.headline(plan.workloads)
    figures = {
        " ".join((promise.value, _warmup(warmup, patience))): {
            scheduler: {
                player: {workload: asdict(score) for workload, score in played.items()}
                for player, played in scores.items()
            }
            for scheduler, scores in table.scores.items()
        } | {"hindsight": {s: dict(hours) for s, hours in table.oracle.items()}}
        for (warmup, patience, promise), table in tables.items()
    }  # fmt: skip
    settings = {
        "command": command,
        "sources": runs.version(),
        "seeds_judged": list(plan.seeds),
        "seed_tuned": season.TUNING_SEED,
        "budget_of_settings_per_law": plan.budget,
        "configurations": _configurations(plan),
        "who": {player.name: player.what for player in plan.players},
        "installable": [player.name for player in plan.players if player.installable],
    }
    return write_result(
        name, headline=headline, settings=settings, figures=figures, table=(COLUMNS, _rows(plan, tables)),
        packages=("numpy", "numba", "ai-dynamo"),
    )  # fmt: skip


def _complete(plan: Plan) -> bool:
    """Whether every run of the plan is kept."""
    try:
        for stage in season.tasks(plan):
            for task in stage:
                task()
    except NotPlayedError:
        return False
    return True


Group = tuple[str, float | None, Promise]


def _groups(plan: Plan) -> list[Group]:
    return list(dict.fromkeys((at.warmup, at.patience, at.promise) for at in plan.conditions))


def _warmup(warmup: str, patience: float | None) -> str:
    return f"warm-up {warmup} s" + ("" if patience is None else f", patience {patience:g} s")


def _table(plan: Plan, group: Group) -> Table:
    here = [at for at in plan.conditions if (at.warmup, at.patience, at.promise) == group]
    return Table(
        promise=group[2],
        ours=OURS,
        installable=[p.name for p in plan.players if p.installable and p.name != OURS],
        with_our_capacity=WITH_OUR_CAPACITY,
        scores={at.scheduler: _scores(plan, at) for at in here},
        oracle={at.scheduler: _hindsight(plan, at) for at in here},
    )


def _scores(plan: Plan, at: Conditions) -> dict[str, dict[str, Score]]:
    found: dict[str, dict[str, Score]] = {}
    for player in plan.players:
        kinds = [("", _tuned_run(plan, player, at)), (" as it comes", _default_run(player, at))]
        for suffix, play in kinds if plan.budget > 1 and player.tuned else kinds[:1]:
            played = {w: s for w in plan.workloads if (s := _score(play, w, plan.seeds)) is not None}
            if played:
                found[player.name + suffix] = played
    return found


def _tuned_run(plan: Plan, player: Player, at: Conditions) -> Callable[[str, int], Result]:
    return lambda workload, seed: season.judged(player, at, workload, seed, plan.budget)


def _default_run(player: Player, at: Conditions) -> Callable[[str, int], Result]:
    return lambda workload, seed: season.default(player, at, workload, seed)


def _score(play: Callable[[str, int], Result], workload: str, seeds: Iterable[int]) -> Score | None:
    """Over the seeds that were played; None: none was."""
    found = []
    for seed in seeds:
        try:
            found.append(play(workload, seed))
        except NotPlayedError:
            continue
    return Score.of(found) if found else None


def _hindsight(plan: Plan, at: Conditions) -> dict[str, float | None]:
    """Mean over the seeds that were played."""
    found: dict[str, float | None] = {}
    for workload in plan.workloads:
        hours = []
        for seed in plan.seeds:
            try:
                best = season.reference(at, workload, seed)
            except NotPlayedError:
                continue
            hours.append(None if best is None else best[1].replica_hours)
        if hours:
            kept = [one for one in hours if one is not None]
            found[workload] = sum(kept) / len(kept) if len(kept) == len(hours) else None
    return found


def _configurations(plan: Plan) -> dict[str, dict[str, str]]:
    """By conditions and player: the text of the tuned scaler."""
    found: dict[str, dict[str, str]] = {}
    for at in plan.conditions:
        for player in plan.players:
            try:
                settings = season.tuned(player, at, plan.budget).settings
            except NotPlayedError:
                continue
            found.setdefault(season.words(at), {})[player.name] = player.scaler(at.promise, settings)
    return found


def _rows(plan: Plan, tables: Mapping[Group, Table]) -> Sequence[Sequence[object]]:
    rows: list[list[object]] = []
    may_be_tuned = {player.name for player in plan.players if player.tuned}
    for (warmup, patience, promise), table in tables.items():
        for scheduler, scores in table.scores.items():
            for workload in plan.workloads:
                ours = scores.get(OURS, {}).get(workload)
                least = table.oracle[scheduler].get(workload)
                head = [
                    promise.value,
                    f"{warmup} s",
                    "stay" if patience is None else f"{patience:g} s",
                    scheduler,
                    workload,
                ]
                here = [(name, played[workload]) for name, played in scores.items() if workload in played]
                for name, score in sorted(here, key=lambda one: (not one[1].met(promise), one[1].hours)):
                    tuned = plan.budget > 1 and name in may_be_tuned
                    rows.append(
                        [
                            *head, name.removesuffix(" as it comes"), "tuned" if tuned else "its authors'",
                            _hours(score), _over(score.hours, ours.hours if ours else None), _over(score.hours, least),
                            f"{score.mean_qoe:.4f}", f"{score.share_good:.2%}", f"{score.smooth_goodput:.0f}",
                            f"{score.turns:.1f}", "yes" if score.met(promise) else "no",
                        ]
                    )  # fmt: skip
                if workload in table.oracle[scheduler]:
                    cells = [*head, "hindsight", "", "none found" if least is None else f"{least:.2f}"]
                    rows.append([*cells, *("" for _ in COLUMNS[len(cells) :])])
    return rows


def _hours(score: Score) -> str:
    low, high = score.hours_range
    return f"{score.hours:.2f}" + (f" ({low:.2f} to {high:.2f})" if score.seeds > 1 else "")


def _over(hours: float, other: float | None) -> str:
    return "" if other is None else f"{hours / other:.2f}"
