"""One cached run per file, so that the league can be stopped and resumed at any run."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
from benchmarks import kept_runs
from benchmarks.league.cases import Case, cluster_of, engine_of, requests_of, scheduling_of
from benchmarks.league.hindsight import timetable, work

from andante.api.v1alpha1 import LLMService
from andante.sim.fleet.andante_scaler import AndanteScaler
from andante.sim.fleet.outcome import FleetOutcome
from andante.sim.fleet.run import run_fleet
from andante.sim.fleet.scaler import Scaler, Static

MOST_REPLICAS = 40
TARGET_MEAN, TARGET_GOOD = 0.95, 0.99
_ROOT = Path(__file__).resolve().parents[2]
_SOURCES = ("operator/andante/sim", "operator/andante/domain", "benchmarks/league")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a run cost, and what its readers got."""

    replica_hours: float
    mean_qoe: float
    share_good: float
    smooth_goodput: float
    """Tokens per second."""
    share_left: float
    errors: int
    cut: int
    changes_per_hour: float
    most_replicas: int
    p5_qoe: float

    @classmethod
    def of(cls, outcome: FleetOutcome) -> Result:
        return cls(
            replica_hours=outcome.replica_hours,
            mean_qoe=outcome.mean_qoe,
            share_good=outcome.share_good,
            smooth_goodput=outcome.smooth_goodput,
            share_left=outcome.share_left,
            errors=int(outcome.errors.sum()),
            cut=outcome.cut,
            changes_per_hour=outcome.direction_changes_per_hour,
            most_replicas=max(replicas for _, replicas in outcome.changes),
            p5_qoe=float(np.quantile(outcome.qoe[outcome.counts], 0.05)),
        )


def scaler_of(case: Case) -> Scaler:
    """The scaler of a case, new for each run. Raises ValueError for a name that is not known."""
    name, _, number = case.scaler.partition(":")
    if name == "static":
        return Static(int(number))
    if name == "hindsight":
        return timetable(case, float(number))
    if name == "andante":
        scaling = {"minReplicas": 1, "maxReplicas": MOST_REPLICAS, "target": {"meanQoE": TARGET_MEAN}}
        spec = {"model": {"id": case.profile}, "scaling": scaling}
        service = LLMService.parse({"metadata": {"name": "league"}, "spec": spec})
        return AndanteScaler(service, behind=cluster_of(case).scrape_lag)
    raise ValueError(f"no scaler {case.scaler!r}")


def start_of(case: Case) -> int:
    """Replicas at the start: those that the first two minutes need, the same for all laws but a static one."""
    name, _, number = case.scaler.partition(":")
    if name == "static":
        return int(number)
    requests, seconds = requests_of(case)
    return max(1, int(np.ceil(work(case, requests, seconds)[:8].mean() / 0.8)))


def run(case: Case) -> Result:
    """Run the case now."""
    requests, seconds = requests_of(case)
    outcome = run_fleet(
        requests, engine_of(case), scaler_of(case), start=start_of(case), cluster=cluster_of(case),
        scheduling=scheduling_of(case), end=seconds, seed=case.seed,
    )  # fmt: skip
    return Result.of(outcome)


def cached(case: Case) -> Result:
    """The result of the case: kept from before, or from a run made now and kept."""
    file = kept_runs.file_of("bench-league", asdict(case), _sources())
    if file.exists():
        return Result(**json.loads(file.read_text())["result"])
    found = run(case)
    kept_runs.keep(file, {"case": asdict(case), "result": asdict(found)})
    return found


@cache
def _sources() -> tuple[Path, ...]:
    """The code that a run depends on."""
    return tuple(source for folder in _SOURCES for source in (_ROOT / folder).rglob("*.py"))
