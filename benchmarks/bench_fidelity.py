"""How true the simulator is: recorded runs of real vLLM, predicted with profiles fitted to the other half of each run.

`make bench-fidelity` prints errors on the half that the fit reads (split `fit`), so that work on simulator and fit does
not follow the other half (split `judge`). `make bench-fidelity ARGS=--verdict` compares with that other half, for all
set-ups, and writes benchmarks/results/fidelity.json and .md, which count the versions of the code that were judged.

Exit status: 0 good, 1 where a set-up that is asked misses a bar of the verdict, 2 for wrong arguments.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from benchmarks import kept_runs
from benchmarks.results_file import RESULTS, versions, write_result
from rich.console import Console

from andante.cli.profile_command import fitted
from andante.cli.recorded_runs import Recording, read_recording
from andante.cli.simulator_errors import ErrorRow, Prediction, compared, error_rows, error_table, predicted
from andante.cli.traces import read_text
from andante.domain.step_time import Profile, StepTimeCoefficients
from andante.sim.real_runs.fidelity import mean_interval
from andante.sim.real_runs.fitting import Fit
from andante.sim.real_runs.recorded import Latencies

DATA: Final = Path(__file__).parent / "ground_truth"
PACKAGES: Final = ("numpy", "numba", "scipy")
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

    def misses(self) -> list[str]:
        """Latencies that miss the bar."""
        return [latency for latency, good in self.passes().items() if not good]

    def means_equal(self) -> dict[str, bool]:
        """By latency, whether the 90 % interval of the mean's error lies within `TOST`: two one-sided tests."""
        return {
            row.latency: interval is not None and interval[0] > -TOST and interval[1] < TOST
            for row, interval in zip(self.rows, self.intervals, strict=True)
        }


def sources() -> list[Path]:
    """All Python files that a fit runs."""
    return kept_runs.loaded_by("andante.cli.profile_command", "andante.cli.simulator_errors")


def inputs(name: str) -> list[Path]:
    """All data that the set-up's fit reads."""
    return sorted([DATA / "index.yaml", *(DATA / "kernels").rglob("*.gz"), *(DATA / name).glob("*.gz")])


def fit(name: str) -> tuple[Profile, Fit]:
    """The set-up's profile; kept for as long as data, code and libraries stay the same."""
    data = {str(file.relative_to(DATA)): hashlib.sha256(file.read_bytes()).hexdigest() for file in inputs(name)}
    asked = {"setup": name, "data": data, "versions": versions(PACKAGES)}
    kept = kept_runs.file_of("bench-fidelity", asked, sources(), prefix=f"{name}-")
    if kept.is_file():
        before = json.loads(kept.read_text())
        for part in before.values():
            part["coefficients"] = StepTimeCoefficients(**part["coefficients"])
        return Profile(**before["profile"]), Fit(**before["fit"])
    profile, found = fitted(read_recording(DATA / name, DATA / "index.yaml", times=True), name)
    kept_runs.keep(kept, {"profile": asdict(profile), "fit": asdict(found)})
    return profile, found


def all_fits(names: Sequence[str]) -> dict[str, tuple[Profile, Fit]]:
    """`fit` of each set-up, as many at once as there are processors."""
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
        return dict(zip(names, pool.map(fit, names), strict=True))


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
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--verdict", action="store_true", help="judge all set-ups, and write the result")
    what.add_argument("--only", action="append", choices=(*GATED, *REPORTED), help="these set-ups")
    options = parser.parse_args(arguments)
    console = Console(width=120)
    verdicts: list[Judged] = []
    figures: dict[str, Any] = {}
    names = options.only or (*GATED, *REPORTED)
    fits = all_fits(names)
    # A verdict that is broken off after its first table was a look, too.
    looked = _count_look() if options.verdict else []
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
    if not options.verdict:
        return 0
    write(verdicts, figures, looked)
    missed = [f"{v.setup} {what.upper()}" for v in verdicts if v.setup in GATED for what in v.misses()]
    if missed:
        console.print(f"missed: {', '.join(missed)}")
    return 1 if missed else 0


def version() -> str:
    """Names the simulator, the fit, and what the fit is told of the set-ups."""
    return kept_runs.version_of([*sources(), DATA / "index.yaml"])


def _count_look() -> list[str]:
    """Write into the last verdict's file that this version is judged; the versions that were, this one included."""
    file = RESULTS / "fidelity.json"
    looked = judged_versions(file, version())
    document = json.loads(file.read_text()) if file.is_file() else {}
    document["settings"] = document.get("settings", {}) | _looks(looked)
    RESULTS.mkdir(exist_ok=True)
    file.write_text(json.dumps(document, indent=2) + "\n")
    return looked


def _looks(looked: list[str]) -> dict[str, Any]:
    return {"verdicts_asked": len(looked), "judged_versions": looked}


def judged_versions(before: Path, version: str) -> list[str]:
    """The versions of simulator and fit whose errors on the judge's half were looked at, this one included.

    `before`: the result file of the last verdict. The same version twice is one look: it says nothing new.
    """
    looked = json.loads(before.read_text())["settings"]["judged_versions"] if before.is_file() else []
    return [*looked, *([] if version in looked else [version])]


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


def write(verdicts: Sequence[Judged], figures: dict[str, Any], looked: list[str]) -> None:
    """The result file and its table; `looked`: the versions that were judged so far."""
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
            "soon_within_seconds": SOON_WITHIN, "ks": KS, **_looks(looked),
        },
        figures=figures,
        table=(
            (
                "set-up", "latency", "measured mean", "mean", "p95", "p99", "KS", "within 3 % and KS .10",
                "mean within 5 % (TOST)",
            ),
            rows,
        ),
        packages=PACKAGES,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
