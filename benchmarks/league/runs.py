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
from benchmarks.league.hindsight import timetable, work
from benchmarks.league.scalers import MOST_REPLICAS, scaler_of, static_replicas
from benchmarks.results_file import versions

from andante.sim.fleet.outcome import FleetOutcome
from andante.sim.fleet.run import run_fleet

_ROOT = Path(__file__).resolve().parents[2]
_EVERYWHERE = (
    "andante.sim.fleet.run", "benchmarks.league.cases", "benchmarks.league.hindsight", "benchmarks.league.promise",
)  # fmt: skip
"""Modules that every run loads."""
_LAW = ("andante.sim.fleet.law_scaler", "andante.sim.laws.registry")
_THEIRS = ("dynamo-planner",)
_READ_BY = {
    "andante": ("andante.sim.fleet.andante_scaler",),
    "dynamo-planner": ("andante.sim.fleet.law_scaler", "benchmarks.league.dynamo"),
    "static": ("andante.sim.laws.static",),
    "hindsight": (),
}
"""Modules that a run with this scaler loads beside them; another scaler is a law of the registry."""
_PACKAGES = ("numpy", "numba")
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
    turns: int
    """Changes of direction."""
    seconds: float
    """In which requests came, and the scaler decided."""
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
            turns=round(outcome.direction_changes_per_hour * outcome.end / 3600.0),
            seconds=outcome.end,
            most_replicas=max(replicas for _, replicas in outcome.changes),
            p5_qoe=float(np.quantile(outcome.qoe[outcome.counts], 0.05)),
        )


def start_of(case: Case) -> int:
    """Replicas at the start: those that the first two minutes need, the same for all laws. A static fleet and a
    timetable have their own."""
    name, _, rest = case.scaler.partition(":")
    if name == "static":
        return static_replicas(case.scaler)
    if name == "hindsight":
        return timetable(case, float(rest)).timetable[0][1]
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
    name = case.scaler.partition(":")[0]
    asked = {**asdict(case), "sources": _version_of(name), "versions": versions(packages(name))}
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
    return kept_runs.version_of(sources(name))


def version() -> str:
    """Names the code that the runs depend on, without its history."""
    return kept_runs.version_of(sorted({path for name in (*_READ_BY, "") for path in sources(name)}))


@cache
def sources(name: str) -> tuple[Path, ...]:
    """The files that a run with the scaler `name` depends on, sorted. The production law is in ours only."""
    found = kept_runs.loaded_by(*_EVERYWHERE, *_READ_BY.get(name, _LAW))
    data = [*TRACES.glob("*.gz"), *(_ROOT / "operator/andante/profiles").rglob("*.yaml")]
    if name in _THEIRS:
        data.append(Path(__file__).parent / "requirements.lock")
    # These two import every scaler; what the others read is none of this one's.
    both = [Path(__file__), Path(__file__).with_name("scalers.py")]
    return tuple(sorted({*found, *data, *both}))


def packages(name: str) -> tuple[str, ...]:
    """The packages whose versions a run with the scaler `name` depends on."""
    return (*_PACKAGES, "ai-dynamo") if name in _THEIRS else _PACKAGES
