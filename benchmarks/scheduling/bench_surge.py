"""How many replicas a surge takes: 60 s at 2.5 times the base, each scheduler at the same quality.

One replica is run at several base loads, for a share of the arrivals each; the highest base load at which the mean QoE
of everybody, or the share of good answers, holds the objective says how many replicas a given traffic takes. Stock is
vLLM's FCFS at its best, whose capacity is load 1.0. Cached like bench_scheduler's runs. Writes
benchmarks/results/scheduler-surge.json and .md. `make bench-surge`.
"""

from __future__ import annotations

import argparse
import sys
from itertools import product

from benchmarks.results_file import write_result
from benchmarks.scheduling.averages import Points, average, gather, load_held
from benchmarks.scheduling.provenance import provenance
from benchmarks.scheduling.runs import ENGINES, HOST_KV_GIB, WITH_HOST, RunSpec, named
from benchmarks.scheduling.stock import BEST

SURGE = (60.0, 60.0, 2.5)
DURATION = 240.0
_STOCK = (0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.75, 0.85, 1.0)
_OURS = (0.4, 0.45, 0.5, 0.55, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25)
LOADS = {
    "fcfs": _STOCK,
    "shortest": _OURS,
    "qoe": _OURS,
    "fcfs" + WITH_HOST: _STOCK,
    "qoe" + WITH_HOST: _OURS,
}
PAIRS = (
    ("fcfs", "shortest"),
    ("fcfs", "qoe"),
    ("fcfs", "qoe" + WITH_HOST),
    ("fcfs" + WITH_HOST, "qoe" + WITH_HOST),
)
"""Stock at its best and what replaces it, with KV in host memory or without."""
OBJECTIVES = (("mean_qoe", 0.98), ("mean_qoe", 0.95), ("mean_qoe", 0.90), ("share_good", 0.99))


def main() -> int:
    """Runs what is missing and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13])
    parser.add_argument("--profile", default="opt-66b-4xa100-estimate")
    parser.add_argument("--kv-offload-gib", type=float, default=HOST_KV_GIB, help=f"host memory of {WITH_HOST}, GiB")
    parser.add_argument(
        "--patience", type=float, help="mean patience in s (exponential); without it they wait for ever"
    )
    parser.add_argument("--schedulers", nargs="+", choices=list(LOADS), default=list(LOADS))
    parser.add_argument("--engine", default="vllm", choices=ENGINES, help="vLLM's own classes, or their compiled model")
    parser.add_argument("--quick", action="store_true", help="one seed, every fourth load; writes no file")
    parser.add_argument("--report-only", action="store_true", help="write the files from the runs that are cached")
    arguments = parser.parse_args()
    specs = [
        named(
            name,
            RunSpec(
                scheduler="", profile=arguments.profile, load=load, seed=seed, duration=DURATION, surge=SURGE,
                patience=arguments.patience, engine=arguments.engine,
            ),
            host_kv_gib=arguments.kv_offload_gib,
        )
        for seed, name in product(arguments.seeds[: 1 if arguments.quick else None], arguments.schedulers)
        for load in LOADS[name][:: 4 if arguments.quick else 1]
    ]  # fmt: skip
    points: Points = average(gather(specs, run=not arguments.report_only))
    rows: list[list[object]] = []
    headline = {}
    for figure, objective in OBJECTIVES:
        for stock, ours in PAIRS:
            if not {stock, ours} <= set(arguments.schedulers):
                continue
            held = [load_held(points, name, objective, figure) for name in (stock, ours)]
            cells = ["not crossed" if load is None else f"{load:.3f}" for load in held]
            fewer = None if held[0] is None or held[1] is None else 1 - held[0] / held[1]
            what = f"mean QoE {objective:g}" if figure == "mean_qoe" else f"{objective:.0%} good"
            rows.append([what, stock, cells[0], ours, cells[1], "unknown" if fewer is None else f"{fewer:.1%}"])
            if fewer is not None:
                headline[f"fewer_replicas_{ours}_for_{stock}_at_{figure}_0{round(objective * 100)}"] = round(fewer, 4)
            print(rows[-1], flush=True)
    if arguments.quick:
        return 0
    print(
        write_result(
            "scheduler-surge",
            headline=headline,
            settings={
                **vars(arguments),
                **provenance("bench-surge", seeds=arguments.seeds, profiles=[arguments.profile], lengths=["chat"]),
                "surge": SURGE, "duration": DURATION, "lengths": "chat", "loads": LOADS, "stock": str(BEST),
            },
            figures={"points": [{"scheduler": n, "base_load": a, **p} for (n, a), p in sorted(points.items())]},
            table=(["held", "stock", "base load", "instead", "base load", "fewer replicas"], rows),
            packages=["vllm", "numpy", "numba"],
        )
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
