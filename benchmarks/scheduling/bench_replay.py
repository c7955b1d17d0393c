"""Recorded traffic: Azure's conversation and code traces, and Mooncake's with its shared prefixes.

`qoe` against vLLM's FCFS at its best; load 1.0 is what that FCFS completes of all the trace's requests at once. Lengths
and times are the traces' own, only the gaps between arrivals are scaled. Nothing was tuned on these traces, and the fit
of the step time starts as for a model that nobody measured. Cached like bench_scheduler's runs; writes
benchmarks/results/scheduler-replay.json and .md. `make bench-replay`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from benchmarks.results_file import write_result
from benchmarks.scheduling.bench_sweep import summary
from benchmarks.scheduling.pairs import COLUMNS, row_of, run_all
from benchmarks.scheduling.provenance import provenance
from benchmarks.scheduling.runs import ENGINES, RunSpec
from benchmarks.scheduling.stock import BEST

TRACES = (
    ("azure-conversation", "opt-66b-4xa100-estimate", 4.8),
    ("azure-conversation", "qwen3-32b-2xh100", 12.0),
    ("azure-code", "llama-3-70b-4xh100", 12.0),
    ("mooncake", "llama-3-70b-4xh100", 4.8),
)
"""Trace, profile and pace."""
LOADS = (0.8, 1.0, 1.2, 1.4)
PATIENCE = (None, 60.0)


def main() -> int:
    """Runs what is missing, writing after each point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=11, help="of the readers' patience")
    parser.add_argument("--engine", default="vllm", choices=ENGINES, help="vLLM's own classes, or their compiled model")
    parser.add_argument("--points", default=":", help="FROM:TO, a part of the points")
    parser.add_argument("--quick", action="store_true", help="every 8th point; writes no file")
    parser.add_argument("--report-only", action="store_true", help="write the files from the runs that are cached")
    arguments = parser.parse_args()
    first, _, last = arguments.points.partition(":")
    wanted = list(product(TRACES, PATIENCE, LOADS))[int(first or 0) : int(last) if last else None]
    specs = [
        RunSpec(
            scheduler="", trace=trace, profile=profile, pace=pace, load=load, seed=arguments.seed, patience=patience,
            engine=arguments.engine, options={"true_step_time": False},
        )
        for (trace, profile, pace), patience, load in wanted[:: 8 if arguments.quick else 1]
    ]  # fmt: skip

    def write(pairs: Sequence[Mapping[str, Any]]) -> None:
        if arguments.quick:
            return
        write_result(
            "scheduler-replay",
            headline=summary(pairs),
            settings={
                **vars(arguments),
                **provenance(
                    "bench-replay", seeds=[arguments.seed], profiles=[t[1] for t in TRACES],
                    lengths=[t[0] for t in TRACES],
                ),
                "stock": str(BEST), "step_time": "the fit starts from the default, not from the profile",
            },
            figures={"points": list(pairs)},
            table=(COLUMNS, [row_of(pair) for pair in pairs]),
            packages=["vllm", "numpy", "numba"],
        )  # fmt: skip

    print(summary(run_all(specs, write, run=not arguments.report_only)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
