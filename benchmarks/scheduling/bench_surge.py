"""How many replicas a surge takes: 60 s at 2.5 times the base, each scheduler at the same mean QoE.

One replica is run at several base loads, for a share of the arrivals each; the highest base load at which the mean QoE
of everybody holds the objective says how many replicas a given traffic takes. Cached like bench_scheduler's runs.
Writes benchmarks/results/scheduler-surge.json and .md. `make bench-surge`.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from benchmarks.results_file import write_result
from benchmarks.scheduling.bench_scheduler import Points, average, load_held
from benchmarks.scheduling.runs import RunSpec, cached_run

SURGE = (60.0, 60.0, 2.5)
DURATION = 240.0
LOADS = {"fcfs": (0.45, 0.55, 0.65, 0.75, 0.85, 1.0), "qoe": (0.65, 0.75, 0.85, 1.0, 1.15, 1.3)}


def main() -> int:
    """Runs what is missing and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objectives", type=float, nargs="+", default=[0.98, 0.95, 0.90])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--profile", default="opt-66b-4xa100-estimate")
    arguments = parser.parse_args()
    results = []
    for seed in arguments.seeds:
        for scheduler, loads in LOADS.items():
            for load in loads:
                spec = RunSpec(
                    scheduler=scheduler, profile=arguments.profile, load=load, seed=seed, duration=DURATION, surge=SURGE
                )
                results.append(cached_run(spec))
                print(f"{scheduler} base load {load}: mean QoE {results[-1]['scores']['mean_qoe']:.4f}", flush=True)
    points: Points = average(results)
    rows: list[list[object]] = []
    headline = {}
    for objective in arguments.objectives:
        held = {name: load_held(points, name, objective) for name in LOADS}
        known = held["fcfs"] is not None and held["qoe"] is not None
        fewer = 1 - held["fcfs"] / held["qoe"] if known else np.nan
        cells = ["not crossed" if load is None else f"{load:.3f}" for load in held.values()]
        rows.append([objective, *cells, f"{fewer:.1%}" if known else "unknown"])
        if known:
            headline[f"fewer_replicas_at_mean_0{round(objective * 100)}"] = round(float(fewer), 4)
        print(rows[-1], flush=True)
    print(
        write_result(
            "scheduler-surge",
            headline=headline,
            settings={**vars(arguments), "surge": SURGE, "duration": DURATION, "lengths": "chat", "loads": LOADS},
            figures={"points": [{"scheduler": n, "base_load": a, **p} for (n, a), p in sorted(points.items())]},
            table=(["mean QoE held", "base load, FCFS", "base load, qoe", "fewer replicas"], rows),
            packages=["vllm", "numpy"],
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
