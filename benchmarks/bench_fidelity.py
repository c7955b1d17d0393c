"""How true the simulator is: recorded runs of real vLLM, predicted with profiles fitted to the other half of each run.

`make bench-fidelity`. The fit sees the requests whose split is `fit`; the verdict is about the requests whose split is
`judge`. Without --verdict only errors on the fit's half are printed, so that work on simulator and fit cannot follow
the other half. Writes benchmarks/results/fidelity.json and .md, with the verdict only.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import os
import pickle
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from benchmarks.results_file import write_result
from rich.console import Console

import andante
from andante.cli.profile_command import fitted
from andante.cli.recorded_runs import Recording, read_recording
from andante.cli.simulator_errors import ErrorRow, Prediction, compared, error_rows, error_table, predicted
from andante.cli.traces import read_text
from andante.domain.step_time import Profile
from andante.sim.real_runs.fidelity import mean_interval
from andante.sim.real_runs.fitting import Fit
from andante.sim.real_runs.recorded import Latencies

DATA: Final = Path(__file__).parent / "ground_truth"
PACKAGE: Final = Path(andante.__file__).parent
BUILD: Final = Path(__file__).parents[1] / "build" / "fidelity"
GATED: Final = (
    "rtx4090-llama31-8b-s256", "rtxpro6000-llama31-8b", "h100-llama2-7b-mixed", "h100-codellama-34b-prefix",
)  # fmt: skip
REPORTED: Final = ("2xrtxpro6000-qwen3-30b-a3b-dp2ep2", "2xa100-llama31-70b-tp2-client")
"""Two engines in lock step, which the simulator has as one; and times that a client saw, with engine settings and
shared prompts that are partly guessed."""
WITHIN: Final = 0.03
SOON: Final = 0.3
"""A TTFT below so many seconds may be off by `SOON_WITHIN` seconds instead."""
SOON_WITHIN: Final = 0.02
KS: Final = 0.10
TOST: Final = 0.05
ASKED: Final = 1
"""How often the errors on the judge's half were looked at, with this verdict. Raise it when the simulator changes."""


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdict about one set-up."""

    setup: str
    rows: list[ErrorRow]
    intervals: list[tuple[float, float] | None]
    by_run: dict[str, list[ErrorRow]]
    """Of a set-up with several runs, each run alone."""

    def passes(self) -> dict[str, bool]:
        """By latency."""
        answer = {}
        for row in self.rows:
            soon = (SOON_WITHIN, SOON) if row.latency == "ttft" else (0.0, 0.0)
            near = row.found.within(WITHIN, seconds=soon[0], below=soon[1])
            answer[row.latency] = near and row.found.ks - KS <= 0
        return answer

    def means_equal(self) -> dict[str, bool]:
        """By latency, whether the 90 % interval of the mean's error lies within `TOST`: two one-sided tests."""
        return {
            row.latency: interval is not None and interval[0] > -TOST and interval[1] < TOST
            for row, interval in zip(self.rows, self.intervals, strict=True)
        }


def fit(name: str) -> tuple[Profile, Fit]:
    """The set-up's profile; kept in build/fidelity for as long as neither data nor simulator nor fit change."""
    recording = read_recording(DATA / name, DATA / "index.yaml", times=True)
    sources = [
        *(PACKAGE / "sim").rglob("*.py"),
        *(PACKAGE / "cli" / f"{module}.py" for module in ("recorded_runs", "profile_command")),
        *DATA.rglob("*.yaml"),
    ]
    files = sorted([*sources, *DATA.rglob("kernels/**/*.gz"), *(DATA / name).glob("*.gz")])
    key = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
    kept = BUILD / f"{name}-{key}.pickle"
    if kept.is_file():
        answer: tuple[Profile, Fit] = pickle.loads(kept.read_bytes())  # noqa: S301  written by this function
        return answer
    answer = fitted(recording, name)
    BUILD.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(pickle.dumps(answer))
    return answer


def judged_times(name: str) -> dict[str, tuple[float, float]]:
    """First and last token of the requests of the judge's half. Only the verdict calls this."""
    rows = csv.DictReader(io.StringIO(read_text(DATA / name / "requests.csv.gz"), newline=""))
    return {
        row["request_id"]: (float(row["first_token_s"]), float(row["last_token_s"]))
        for row in rows
        if row["split"] == "judge"
    }


def judge(recording: Recording, prediction: Prediction) -> Judged:
    """Compare the prediction with the judge's half."""
    times = judged_times(recording.setup.name)
    simulated: list[Latencies] = []
    measured: list[Latencies] = []
    by_run: dict[str, list[ErrorRow]] = {}
    for run, (first, last) in zip(recording.runs, prediction, strict=True):
        chosen = np.array([request in times for request in run.ids])
        if not chosen.any():
            continue
        real = np.array([times.get(request, (np.nan, np.nan)) for request in run.ids])
        for kept, (start, end) in ((simulated, (first, last)), (measured, (real[:, 0], real[:, 1]))):
            found = Latencies.of(arrival=run.arrival, first=start, last=end, output=run.output)
            kept.append(found.where(chosen))
        if len(recording.runs) > 1:
            by_run[run.name] = compared(simulated[-1:], measured[-1:])
    rows = compared(simulated, measured)
    intervals = []
    for place in range(3):
        ours, real_values = (np.concatenate([values[place] for values in each]) for each in (simulated, measured))
        intervals.append(mean_interval(ours, real_values))
    return Judged(recording.setup.name, rows, intervals, by_run)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit, predict, and judge where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verdict", action="store_true", help="judge, and write the result")
    parser.add_argument("--only", action="append", choices=(*GATED, *REPORTED), help="these set-ups; no result")
    options = parser.parse_args(arguments)
    console = Console(width=120)
    verdicts: list[Judged] = []
    figures: dict[str, Any] = {}
    names = options.only or (*GATED, *REPORTED)
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
        fits = dict(zip(names, pool.map(fit, names), strict=True))
    for name in names:
        recording = read_recording(DATA / name, DATA / "index.yaml", times=True)
        profile, found = fits[name]
        prediction = predicted(recording, profile)
        fit_rows = error_rows(recording, profile, prediction)
        console.print(error_table(fit_rows, title=f"{name}: the fit's half, {found.runs} runs"))
        console.print({key: float(f"{value:.4g}") for key, value in asdict(found.coefficients).items()})
        console.print({key: value for key, value in asdict(found).items() if key != "coefficients"})
        if not options.verdict:
            continue
        verdict = judge(recording, prediction)
        verdicts.append(verdict)
        console.print(error_table(verdict.rows, title=f"{name}: JUDGE half"))
        figures[name] = _figures(verdict, fit_rows, asdict(found))
    if options.verdict and not options.only:
        write(verdicts, figures)
    return 0


def _figures(verdict: Judged, fit_rows: Sequence[ErrorRow], found: dict[str, Any]) -> dict[str, Any]:
    return {
        "judge": {row.latency: asdict(row.found) for row in verdict.rows},
        "mean_error_90_percent_interval": dict(
            zip((row.latency for row in verdict.rows), verdict.intervals, strict=False)
        ),
        "within": verdict.passes(),
        "means_equal_within_5_percent": verdict.means_equal(),
        "judge_by_run": {run: {row.latency: asdict(row.found) for row in rows} for run, rows in verdict.by_run.items()},
        "fit": {row.latency: asdict(row.found) for row in fit_rows},
        "profile": found,
    }


def write(verdicts: Sequence[Judged], figures: dict[str, Any]) -> None:
    """The result file and its table."""
    headline: dict[str, float] = {}
    rows = []
    for verdict in verdicts:
        worst = {row.latency: row.found.worst for row in verdict.rows}
        headline[f"{verdict.setup}.max_rel_error_half"] = round(max(worst.values()), 4)
        headline[f"{verdict.setup}.ks_max"] = round(max(row.found.ks for row in verdict.rows), 4)
        passes, equal = verdict.passes(), verdict.means_equal()
        for row in verdict.rows:
            found = row.found
            gate = ("yes" if passes[row.latency] else "no") if verdict.setup in GATED else "not asked"
            rows.append(
                (
                    verdict.setup, row.latency.upper(), f"{found.measured_mean:.4g} s",
                    *(f"{100 * error:+.1f} %" for error in (found.mean, found.p95, found.p99)), f"{found.ks:.3f}",
                    gate, "yes" if equal[row.latency] else "no",
                )
            )  # fmt: skip
    carried = [row.found.mean for v in verdicts for rows_ in v.by_run.values() for row in rows_]
    if carried:
        headline["max_rel_mean_error_transfer"] = round(max(map(abs, carried)), 4)
    write_result(
        "fidelity",
        headline=headline,
        settings={
            "gated": GATED, "reported": REPORTED, "within": WITHIN, "soon_seconds": SOON,
            "soon_within_seconds": SOON_WITHIN, "ks": KS, "verdicts_asked": ASKED,
        },
        figures=figures,
        table=(
            (
                "set-up", "latency", "measured mean", "mean", "p95", "p99", "KS", "within 3 % and KS .10",
                "mean within 5 % (TOST)",
            ),
            rows,
        ),
        packages=("numpy", "numba", "scipy"),
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
