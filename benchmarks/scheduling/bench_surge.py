"""How many replicas a surge takes: 60 s at 2.5 times the base, each scheduler at the same mean QoE.

One replica is run at several base loads, for a share of the arrivals each; the highest base load at which the mean QoE
of everybody holds the objective says how many replicas a given traffic takes. Cached like bench_scheduler's runs.
Writes benchmarks/results/scheduler-surge.json and .md. `make bench-surge`.
"""

from __future__ import annotations

import argparse
import sys

from benchmarks.results_file import write_result
from benchmarks.scheduling.bench_scheduler import Points, average, load_held
from benchmarks.scheduling.runs import HOST_KV_GIB, WITH_HOST, RunSpec, cached_run, split_name

SURGE = (60.0, 60.0, 2.5)
DURATION = 240.0
LOADS = {
    "fcfs": (0.45, 0.55, 0.65, 0.75, 0.85, 1.0),
    "qoe": (0.65, 0.75, 0.85, 1.0, 1.15, 1.3),
    "fcfs" + WITH_HOST: (0.45, 0.55, 0.65, 0.75, 0.85, 1.0),
    "qoe" + WITH_HOST: (0.65, 0.75, 0.85, 1.0, 1.15, 1.3),
}
PAIRS = (("fcfs", "qoe"), ("fcfs", "qoe" + WITH_HOST), ("fcfs" + WITH_HOST, "qoe" + WITH_HOST))
"""Stock scheduler and ours, with KV in host memory or without."""


def main() -> int:
    """Runs what is missing and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objectives", type=float, nargs="+", default=[0.98, 0.95, 0.90])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--profile", default="opt-66b-4xa100-estimate")
    parser.add_argument("--kv-offload-gib", type=float, default=HOST_KV_GIB, help=f"host memory of {WITH_HOST}, GiB")
    arguments = parser.parse_args()
    results = []
    for seed in arguments.seeds:
        for name, loads in LOADS.items():
            scheduler, gib = split_name(name, arguments.kv_offload_gib)
            for load in loads:
                spec = RunSpec(
                    scheduler=scheduler, profile=arguments.profile, load=load, seed=seed, duration=DURATION,
                    surge=SURGE, kv_offload_gib=gib,
                )  # fmt: skip
                results.append(cached_run(spec))
                print(f"{name} base load {load}: mean QoE {results[-1]['scores']['mean_qoe']:.4f}", flush=True)
    points: Points = average(results)
    rows: list[list[object]] = []
    headline = {}
    for objective in arguments.objectives:
        for stock, ours in PAIRS:
            held = load_held(points, stock, objective), load_held(points, ours, objective)
            cells = ["not crossed" if load is None else f"{load:.3f}" for load in held]
            fewer = None if held[0] is None or held[1] is None else 1 - held[0] / held[1]
            rows.append([objective, stock, cells[0], ours, cells[1], "unknown" if fewer is None else f"{fewer:.1%}"])
            if fewer is not None:
                which = "" if (stock, ours) == PAIRS[0] else f"_{ours}_for_{stock}"
                headline[f"fewer_replicas_at_mean_0{round(objective * 100)}{which}"] = round(fewer, 4)
            print(rows[-1], flush=True)
    print(
        write_result(
            "scheduler-surge",
            headline=headline,
            settings={**vars(arguments), "surge": SURGE, "duration": DURATION, "lengths": "chat", "loads": LOADS},
            figures={"points": [{"scheduler": n, "base_load": a, **p} for (n, a), p in sorted(points.items())]},
            table=(["mean QoE held", "stock", "base load", "ours", "base load", "fewer replicas"], rows),
            packages=["vllm", "numpy", "numba"],
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
