"""Is anybody worse off than with FCFS? Profiles x length mixes x paces x loads, short runs, each against FCFS.

A designed subsample: every (profile, lengths, pace) at two loads, which rotate so that each load meets all the others.
A violation is a mean QoE below FCFS's less .002, a throughput below 97 % of FCFS's, or a smooth goodput below FCFS's by
more than 1 % of the throughput. Throughput is that until 95 % of the tokens were out (`scoring.Scores` says why);
tokens/s until the last stream's end stand beside it. Cached like bench_scheduler's runs; writes what has been run to
benchmarks/results/scheduler-sweep.json and .md after every point. `make bench-sweep`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from itertools import product
from typing import Any

from benchmarks.results_file import write_result
from benchmarks.scheduling.against_fcfs import TOLERANCE, worse
from benchmarks.scheduling.runs import RunSpec, cached_result, cached_run, capacity

PROFILES = ("opt-66b-4xa100-estimate", "llama-3-70b-4xh100", "llama-3-8b-1xa100")
LENGTHS = ("conversation", "code", "chat", "reasoning")
PACES = (4.8, 12.0, 25.0)
LOADS = (1.1, 0.8, 1.5, 0.5, 1.0, 2.0)
REQUESTS = 500.0
SHORTEST, LONGEST = 60.0, 240.0
"""Seconds of arrivals."""
FIGURES = {"mean_andes_qoe": "Andes' QoE", "p1_qoe": "p1", "p5_qoe": "p5", "share_good": "good"}
COLUMNS = (
    "profile", "lengths", "pace", "load", "mean QoE", "FCFS", "throughput ratio", "to the last stream's end",
    "smooth goodput", "FCFS",
)  # fmt: skip
LEAST_THROUGHPUT = 0.97
"""Of FCFS's."""


def design(per_pair: int) -> list[tuple[str, str, float, float]]:
    """(profile, lengths, pace, load), the loads rotating through the square."""
    points = []
    for turn in range(per_pair):
        for index, (profile, lengths) in enumerate(product(PROFILES, LENGTHS)):
            for place, pace in enumerate(PACES):
                points.append((profile, lengths, pace, LOADS[(index + 2 * place + 3 * turn) % len(LOADS)]))
    return points


def spec(scheduler: str, point: tuple[str, str, float, float]) -> RunSpec:
    """The run of a point."""
    profile, lengths, pace, load = point
    duration = round(min(max(REQUESTS / (load * capacity(profile, lengths)), SHORTEST), LONGEST))
    return RunSpec(
        scheduler=scheduler, profile=profile, lengths=lengths, pace=pace, load=load, duration=float(duration)
    )


def violations(ours: Mapping[str, Any], stock: Mapping[str, Any]) -> list[str]:
    """What is worse than FCFS."""
    slower = ours["throughput_to_95"] < LEAST_THROUGHPUT * stock["throughput_to_95"]
    return [*worse(ours, stock), *(["throughput"] if slower else [])]


def main() -> int:
    """Runs what is missing, writing after each point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--per-pair", type=int, default=2, help="loads for each profile, lengths and pace")
    parser.add_argument("--report-only", action="store_true", help="write the files from the runs that are cached")
    arguments = parser.parse_args()
    points = design(arguments.per_pair)
    rows: list[list[object]] = []
    figures = []
    for number, point in enumerate(points, 1):
        results = {}
        for name in ("fcfs", "qoe"):
            wanted = spec(name, point)
            result = cached_result(wanted) if arguments.report_only else cached_run(wanted)
            if result:
                results[name] = result["scores"]
        if len(results) < 2:
            continue
        ours, stock = results["qoe"], results["fcfs"]
        bad = violations(ours, stock)
        figures.append({"point": point, "qoe": ours, "fcfs": stock, "violations": bad})
        rows.append(
            [
                *point,
                *(f"{s['mean_qoe']:.3f}" for s in (ours, stock)),
                *(f"{ours[name] / stock[name]:.3f}" for name in ("throughput_to_95", "throughput")),
                *(f"{s['smooth_goodput']:.0f}" for s in (ours, stock)),
                *(f"{s[name]:.2f}" for name in FIGURES for s in (ours, stock)),
                ", ".join(bad) or "none",
            ]
        )
        print(f"[{number}/{len(points)}]", *rows[-1][: len(COLUMNS)], rows[-1][-1], flush=True)
        write_result(
            "scheduler-sweep",
            headline={
                "points": len(rows),
                "points_with_a_violation": sum(bool(f["violations"]) for f in figures),
                "least_throughput_ratio": round(
                    min(f["qoe"]["throughput_to_95"] / f["fcfs"]["throughput_to_95"] for f in figures), 4
                ),
                "points_below_97_to_the_last_stream": sum(
                    f["qoe"]["throughput"] < LEAST_THROUGHPUT * f["fcfs"]["throughput"] for f in figures
                ),
            },
            settings={**vars(arguments), "requests": REQUESTS, "seed": 1, "goodput_tolerance": TOLERANCE},
            figures={"points": figures},
            table=(
                [*COLUMNS, *(column for name in FIGURES.values() for column in (name, "FCFS")), "worse than FCFS in"],
                rows,
            ),
            packages=["vllm", "numpy", "numba"],
        )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
