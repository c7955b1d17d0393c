"""Plays one case and keeps its result in a file, so that the league can be stopped and resumed at any run."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
from benchmarks import kept_runs
from benchmarks.league.cases import TRACES, Case, cluster_of, engine_of, requests_of, scheduling_of
from benchmarks.league.hindsight import work
from benchmarks.league.scalers import MOST_REPLICAS, scaler_of

from andante.sim.fleet.outcome import FleetOutcome
from andante.sim.fleet.run import run_fleet

_ROOT = Path(__file__).resolve().parents[2]
_ONLY_KEPT: ContextVar[bool] = ContextVar("only kept runs", default=False)


class NotPlayedError(Exception):
    """A run that is asked for has not been made."""


@contextmanager
def only_kept() -> Iterator[None]:
    """Within it `cached` makes no run: it raises NotPlayedError instead."""
    token = _ONLY_KEPT.set(True)
    try:
        yield
    finally:
        _ONLY_KEPT.reset(token)


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


def start_of(case: Case) -> int:
    """Replicas at the start: those that the first two minutes need, the same for all laws but a static one."""
    name, _, number = case.scaler.partition(":")
    if name == "static":
        return int(number)
    return min(MOST_REPLICAS, max(1, math.ceil(work(case)[:8].mean() / 0.8)))


def run(case: Case) -> Result:
    """Run the case now."""
    requests, seconds = requests_of(case)
    with scaler_of(case) as scaler:
        outcome = run_fleet(
            requests, engine_of(case.profile), scaler, start=start_of(case), cluster=cluster_of(case),
            scheduling=scheduling_of(case), end=seconds, seed=case.seed,
        )  # fmt: skip
    return Result.of(outcome)


def cached(case: Case) -> Result:
    """The result of the case: kept from before, or from a run made now and kept."""
    asked = {**asdict(case), "sources": _version_of(case.scaler.partition(":")[0])}
    file = kept_runs.file_of("bench-league", asked, ())
    if not file.exists():
        if _ONLY_KEPT.get():
            raise NotPlayedError(case)
        began = time.process_time()
        found = run(case)
        spent = time.process_time() - began
        kept_runs.keep(file, {"case": asdict(case), "result": asdict(found), "cpu_seconds": spent})
    return Result(**json.loads(file.read_text())["result"])


@cache
def _version_of(name: str) -> str:
    return kept_runs.version_of(sorted(sources(name)))


def version() -> str:
    """Names the code that the runs depend on, without its history."""
    return kept_runs.version_of(sorted({path for name in ("andante", "dynamo-planner") for path in sources(name)}))


@cache
def sources(name: str) -> tuple[Path, ...]:
    """The files that a run with the scaler `name` depends on. Only ours reads the code of the production law."""
    everywhere = {
        *_python("operator/andante/sim"), *_python("operator/andante/sim/fleet"), *_python("operator/andante/sim/laws"),
        *_python("operator/andante/sim/workloads"), *_python("operator/andante/domain"),
        *_python("operator/andante/domain/scheduling"), *_python("operator/andante/profiles"),
        *(_ROOT / "operator/andante/profiles").rglob("*.yaml"),
        *(_ROOT / f"operator/andante/domain/scaling/{module}.py" for module in ("capacity", "engine_capacity")),
        *TRACES.glob("*.gz"), _ROOT / "benchmarks/middle_rate.py", _ROOT / "benchmarks/scheduling/stock.py",
        *(Path(__file__).parent / f"{module}.py" for module in ("cases", "hindsight", "promise", "runs", "scalers")),
    }  # fmt: skip
    ours = {
        _ROOT / "operator/andante/sim/fleet/andante_scaler.py",
        *_python("operator/andante/domain/scaling"), *_python("operator/andante/app/scaling"),
        *_python("operator/andante/api/v1alpha1"),
    }  # fmt: skip
    if name == "andante":
        return tuple(everywhere | ours)
    if name == "dynamo-planner":
        return tuple(everywhere - ours | {Path(__file__).parent / "dynamo.py"})
    return tuple(everywhere - {_ROOT / "operator/andante/sim/fleet/andante_scaler.py"})


def _python(folder: str) -> list[Path]:
    return list((_ROOT / folder).glob("*.py"))
