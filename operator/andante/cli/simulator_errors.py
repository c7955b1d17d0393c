"""Predicts a recorded run with a profile, and shows how far the simulated latencies are from the measured ones."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

from andante.cli.errors import InputError
from andante.cli.recorded_runs import Recording
from andante.domain.step_time import Profile
from andante.profiles import ProfileError, load_profiles

if TYPE_CHECKING:
    from andante.sim.real_runs.fidelity import Difference
    from andante.sim.real_runs.recorded import Latencies

Prediction = list[tuple[np.ndarray, np.ndarray]]
"""Of each run the times of first and last tokens, in the order of the run's requests."""

_COMPILED_WITH = ("numba", "scipy")


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """One latency of a comparison."""

    latency: str
    found: Difference

    @staticmethod
    def percent(share: float) -> float:
        """With one digit behind the point."""
        return round(100 * share, 1)


def needs_simulator(command: str) -> None:
    """Raise InputError where the simulator's libraries are missing."""
    missing = [name for name in _COMPILED_WITH if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"{command} needs {' and '.join(missing)}: pip install 'andante[cli,sim]'")


def one_profile(source: str) -> Profile:
    """The profile of that file, which must hold one, or the shipped profile of that name. Raises InputError."""
    path = Path(source)
    try:
        if not path.exists() and path.suffix not in (".yaml", ".yml"):
            shipped = load_profiles()
            if source not in shipped:
                raise InputError(f"--profile: {source} is no file, and no shipped profile: {', '.join(shipped)}")
            return shipped[source]
        found = load_profiles(path)
    except ProfileError as error:
        raise InputError(f"--profile: {error}") from error
    if len(found) > 1:
        raise InputError(f"--profile: {path} holds {len(found)} profiles ({', '.join(found)}); leave one in it")
    return next(iter(found.values()))


def predicted(recording: Recording, profile: Profile) -> Prediction:
    """The run, simulated."""
    from andante.sim.real_runs.recorded import predict, replica, workload

    answers: Prediction = []
    for run in recording.runs:
        requests = workload(run, recording.settings)
        answers.append(predict(requests, replica(recording.settings, profile, requests)))
    return answers


def error_rows(recording: Recording, profile: Profile, prediction: Prediction | None = None) -> list[ErrorRow]:
    """Simulated against measured, of the requests whose times may be used; empty where there are none."""
    from andante.sim.real_runs.recorded import Latencies

    simulated: list[Latencies] = []
    measured: list[Latencies] = []
    for run, (first, last) in zip(recording.runs, prediction or predicted(recording, profile), strict=True):
        for kept, times in ((simulated, (first, last)), (measured, (run.first, run.last))):
            found = Latencies.of(arrival=run.arrival, first=times[0], last=times[1], output=run.output)
            kept.append(found.where(run.fit))
    return compared(simulated, measured)


def compared(simulated: Sequence[Latencies], measured: Sequence[Latencies]) -> list[ErrorRow]:
    """The rows of TTFT, TPOT and E2E, over all runs together."""
    from andante.sim.real_runs.fidelity import difference

    rows = []
    for place, name in enumerate(("ttft", "tpot", "e2e")):
        ours, real = (np.concatenate([values[place] for values in each]) for each in (simulated, measured))
        if np.isfinite(real).any():
            rows.append(ErrorRow(name, difference(ours, real)))
    return rows


def error_table(rows: Sequence[ErrorRow], *, title: str) -> Table:
    """The rows for people."""
    table = Table("latency", "requests", "measured mean", "mean", "p50", "p95", "p99", "KS", title=title)
    for row in rows:
        found = row.found
        errors = (found.mean, found.p50, found.p95, found.p99)
        table.add_row(
            row.latency.upper(), str(found.requests), f"{found.measured_mean:.4g} s",
            *(f"{100 * error:+.1f} %" for error in errors), f"{found.ks:.3f}",
        )  # fmt: skip
    return table
