"""Which of vLLM's flags serve readers best: its own FCFS, one flag changed at a time, then the best two together.

Whoever tunes vLLM does this before they try another scheduler, so the best of these is the rival of all tables and its
capacity is load 1.0. On the seeds with which ours was tuned too. Cached like bench_scheduler's runs. Writes
benchmarks/results/scheduler-stock.json and .md. `make bench-stock`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from benchmarks.results_file import write_result
from benchmarks.scheduling.provenance import provenance
from benchmarks.scheduling.runs import ENGINES, RunSpec, cached_run, capacity
from benchmarks.scheduling.stock import BEST, DEFAULT, StockFlags

CANDIDATES = (
    DEFAULT,
    *(StockFlags(watermark=share) for share in (0.01, 0.02, 0.03, 0.05)),
    *(StockFlags(watermark=0.02, max_num_seqs=seqs) for seqs in (64, 96, 128, 192)),
    *(StockFlags(watermark=0.02, max_num_batched_tokens=tokens) for tokens in (512, 1024, 4096)),
    *(StockFlags(watermark=0.02, long_prefill=tokens) for tokens in (256, 512)),
    *(StockFlags(max_num_seqs=seqs) for seqs in (96, 128)),
)


def flags(stock: StockFlags) -> str:
    """The flags as a command line has them."""
    names = {"long_prefill": "long-prefill-token-threshold"}
    chosen = [(names.get(f.name, f.name.replace("_", "-")), getattr(stock, f.name)) for f in fields(stock)]
    return " ".join(f"--{name} {value:g}" for name, value in chosen if value) or "(default)"


def main() -> int:
    """Runs what is missing, writing after each candidate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="opt-66b-4xa100-estimate")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--loads", type=float, nargs="+", default=[0.98, 1.05])
    parser.add_argument("--duration", type=float, default=1200.0)
    parser.add_argument("--engine", default="vllm", choices=ENGINES, help="vLLM's own classes, or their compiled model")
    parser.add_argument("--quick", action="store_true", help="two candidates for a minute; writes no file")
    arguments = parser.parse_args()
    candidates: Sequence[StockFlags] = CANDIDATES[:3:2] if arguments.quick else CANDIDATES
    points: list[dict[str, Any]] = []
    rows: list[list[object]] = []
    for number, stock in enumerate(candidates, 1):
        full = capacity(arguments.profile, "chat", stock=stock, engine=arguments.engine)
        figures = {"flags": flags(stock), "capacity": round(full, 3)}
        for load in arguments.loads:
            runs = [
                cached_run(
                    RunSpec(
                        scheduler="fcfs", profile=arguments.profile, load=load, seed=seed, stock=stock,
                        duration=60.0 if arguments.quick else arguments.duration, engine=arguments.engine,
                    )
                )["scores"]
                for seed in arguments.seeds
            ]  # fmt: skip
            for name in ("mean_qoe", "smooth_goodput", "throughput", "ttft_p95"):
                figures[f"{name}_at_{load:g}"] = float(np.mean([run[name] for run in runs]))
        points.append(figures)
        rows.append(
            [
                figures["flags"], f"{figures['capacity']:.2f}",
                *(f"{figures[f'{name}_at_{load:g}']:{form}}" for load in arguments.loads
                  for name, form in (("mean_qoe", ".4f"), ("smooth_goodput", ".0f"))),
            ]
        )  # fmt: skip
        print(f"[{number}/{len(candidates)}]", *rows[-1], flush=True)
        if arguments.quick:
            continue
        write_result(
            "scheduler-stock",
            headline={"capacity_default": points[0]["capacity"], "best": max(p["capacity"] for p in points)},
            settings={
                **vars(arguments),
                **provenance("bench-stock", seeds=arguments.seeds, profiles=[arguments.profile], lengths=["chat"]),
                "chosen": flags(BEST),
            },
            figures={"points": points},
            table=(
                ["flags of vllm serve", "requests/s of an endless queue",
                 *(f"{what} at load {load:g}" for load in arguments.loads for what in ("mean QoE", "smooth goodput"))],
                rows,
            ),
            packages=["vllm", "numpy", "numba"],
        )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
