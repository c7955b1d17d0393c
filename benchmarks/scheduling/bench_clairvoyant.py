"""How far the policy is from a reference that knows every length and preempts for nothing, on the same arrivals.

Uses bench_scheduler's runs (`--run` makes those that are missing). Writes benchmarks/results/scheduler-clairvoyant.json
and .md. `make bench-clairvoyant`.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from benchmarks.results_file import write_result
from benchmarks.scheduling.clairvoyant import Clairvoyant
from benchmarks.scheduling.runs import RunSpec, cached_result, cached_run, capacity, classes_of
from benchmarks.scheduling.workload import LENGTHS, poisson_workload

from andante.profiles import load_profiles

PROFILE = "opt-66b-4xa100-estimate"


def main() -> int:
    """Writes the gap at each load."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loads", type=float, nargs="+", default=[1.0, 1.1, 1.3])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--duration", type=float, default=1200.0)
    parser.add_argument("--run", action="store_true", help="run what bench_scheduler has not run yet")
    arguments = parser.parse_args()
    rows: list[list[object]] = []
    figures = []
    for load in arguments.loads:
        gaps = []
        for seed in arguments.seeds:
            spec = RunSpec(scheduler="qoe", load=load, seed=seed, duration=arguments.duration)
            result = cached_run(spec) if arguments.run else cached_result(spec)
            if result is None:
                continue
            classes, shares = classes_of(spec)
            work = poisson_workload(
                rate=load * capacity(PROFILE, "chat"), duration=arguments.duration, lengths=LENGTHS["chat"], seed=seed,
                classes=classes, shares=shares,
            )  # fmt: skip
            reference = Clairvoyant(work, load_profiles()[PROFILE]).run()
            ours = result["scores"]["mean_qoe"]
            gaps.append(reference["mean_qoe"] - ours)
            figures.append({"load": load, "seed": seed, "reference": dict(reference), "qoe": ours})
        if gaps:
            known = [f for f in figures if f["load"] == load]
            rows.append(
                [load, f"{np.mean([f['qoe'] for f in known]):.4f}",
                 f"{np.mean([f['reference']['mean_qoe'] for f in known]):.4f}", f"{np.mean(gaps):.4f}", len(gaps)]
            )  # fmt: skip
            print(rows[-1], flush=True)
    if not rows:
        print("no run of `qoe` is cached: make bench-scheduler first, or --run", file=sys.stderr)
        return 1
    print(
        write_result(
            "scheduler-clairvoyant",
            headline={f"gap_at_load_{row[0]}": float(str(row[3])) for row in rows},
            settings={**vars(arguments), "profile": PROFILE, "lengths": "chat"},
            figures={"points": figures},
            table=(["load", "qoe", "clairvoyant, free preemption", "gap in mean QoE", "seeds"], rows),
            packages=["vllm", "numpy"],
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
