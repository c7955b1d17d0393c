"""What the league plays, and what it writes of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks import results_file
from benchmarks.league import oracle, report, runs, season
from benchmarks.league.cases import Case
from benchmarks.league.players import OURS, players
from benchmarks.league.runs import NotPlayedError, Result
from benchmarks.league.season import Conditions, Plan
from hack.league_tables import pooled_table, workloads_table

from andante.sim.workloads.catalogue import Half

CHOSEN = tuple(p for p in players(full=False) if p.name in {OURS, "hpa-kv-use", "capacity-planner"})


def plan(*, budget: int = 4) -> Plan:
    conditions = [Conditions(scheduler=scheduler) for scheduler in ("qoe", "stock")]
    return Plan(conditions=conditions, players=CHOSEN, seeds=(11, 12), budget=budget, workloads=("step", "mooncake"))


class Played:
    """Runs that cost what the scaler's name says, and are remembered."""

    def __init__(self) -> None:
        self.cases: dict[Case, Result] = {}
        self.only_kept = False

    def __call__(self, case: Case) -> Result:
        if case not in self.cases and self.only_kept:
            raise NotPlayedError(case)
        name = case.scaler.partition(":")[0]
        hours = {OURS: 4.0, "hpa-kv-use": 8.0, "capacity-planner": 5.0, "static": 6.0, "hindsight": 3.0}[name]
        hours *= 2.0 if case.scheduler == "stock" else 1.0
        return self.cases.setdefault(
            case,
            Result(
                replica_hours=hours, mean_qoe=0.96, share_good=0.99, smooth_goodput=100.0, share_left=0.0, errors=0,
                cut=0, turns=1, seconds=3600.0, most_replicas=8, p5_qoe=0.9,
            ),
        )  # fmt: skip


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Played:
    found = Played()
    monkeypatch.setattr(runs, "cached", found)
    monkeypatch.setattr(oracle, "cached", found)
    monkeypatch.setattr(results_file, "RESULTS", tmp_path)
    season.tuned.cache_clear()
    return found


def play(these: Plan) -> None:
    for stage in season.tasks(these):
        for task in stage:
            task()


def test_laws_are_tuned_on_one_half_and_seed_and_judged_on_others(played: Played) -> None:
    play(plan())
    tuning = [case for case in played.cases if case.half is Half.TUNING]
    judging = [case for case in played.cases if case.half is Half.JUDGING]
    assert {case.seed for case in tuning} == {season.TUNING_SEED}
    assert {case.seed for case in judging} == {11, 12}
    assert {case.workload for case in judging} == {"step", "mooncake"}


def test_every_law_tries_the_same_number_of_settings(played: Played) -> None:
    play(plan(budget=5))
    tried: dict[tuple[str, str], set[str]] = {}
    for case in played.cases:
        if case.half is Half.TUNING:
            tried.setdefault((case.scaler.partition(":")[0], case.scheduler), set()).add(case.scaler)
    assert len(tried) == 6
    assert {len(settings) for settings in tried.values()} == {5}


def test_a_budget_of_one_tunes_nothing(played: Played) -> None:
    play(plan(budget=1))
    assert {case.half for case in played.cases} == {Half.JUDGING}


def test_a_report_runs_nothing_and_says_what_is_missing(played: Played, tmp_path: Path) -> None:
    played.only_kept = True
    report.write(plan(), name="league", command="make bench-league")
    document = json.loads((tmp_path / "league.json").read_text())
    pooled = document["headline"]["mean-qoe"]["warm-up 100 s"]["pooled_one_configuration"]
    assert pooled["gpu_hours_over_best_tuned_rival"] is None
    assert not document["headline"]["complete"]
    assert "Not all of the league was played." in pooled_table(document)


def test_what_is_never_tuned_has_one_row_and_is_not_called_tuned(played: Played, tmp_path: Path) -> None:
    plain = tuple(p for p in players(full=False) if p.name in {OURS, "plain"})
    these = replace(plan(), players=plain)
    play(these)
    report.write(these, name="league", command="make bench-league")
    rows = [line for line in (tmp_path / "league.md").read_text().splitlines() if " qoe | step | " in line]
    assert [" | tuned | " in row for row in rows if "| plain |" in row] == [False]
    assert sorted(" | tuned | " in row for row in rows if f"| {OURS} |" in row) == [False, True]


def test_the_headline_and_the_tables_come_from_the_runs(played: Played, tmp_path: Path) -> None:
    play(plan())
    report.write(plan(), name="league", command="make bench-league")
    document = json.loads((tmp_path / "league.json").read_text())
    pooled = document["headline"]["mean-qoe"]["warm-up 100 s"]["pooled_one_configuration"]
    assert pooled["best_rival"] == "hpa-kv-use"
    assert pooled["gpu_hours_over_best_tuned_rival"] == 0.5
    assert pooled["gpu_hours_over_planner_with_our_capacity"] == 0.8
    assert pooled["gpu_hours_over_oracle"] == pytest.approx(4 / 3, abs=1e-3)
    assert (pooled["scheduler_alone"], pooled["scaler_alone"], pooled["both"]) == (0.5, 0.5, 0.25)
    assert document["headline"]["complete"]
    assert document["settings"]["sources"] == runs.version()
    row = next(line for line in pooled_table(document).splitlines() if line.startswith("| mean-qoe"))
    assert row == (
        "| mean-qoe | warm-up 100 s | all | 2 of 2 | 0.50 | hpa-kv-use (2 of 2) | 0.80 (2 of 2) | 1.33 | 0.50 | 0.50 |"
        " 0.25 |"
    )
    assert len([line for line in workloads_table(document).splitlines() if line.startswith("| mean-qoe")]) == 2
