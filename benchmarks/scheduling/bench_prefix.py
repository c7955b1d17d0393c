"""Prompts that begin alike: system prompts of 1,500 and 6,000 tokens, and sessions, each prompt with its history.

`qoe` against vLLM's FCFS at its best, each at every load; load 1.0 is what that FCFS completes of an endless queue of
the same requests. `checks.worse` says what counts as a violation. A pace that a step of one decode cannot keep is out
of reach: such points are run and shown, and count apart. Resumable: each run is cached; writes
benchmarks/results/scheduler-prefix.json and .md. `make bench-prefix`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from benchmarks.results_file import write_result
from benchmarks.scheduling.bench_sweep import summary
from benchmarks.scheduling.pairs import COLUMNS, row_of, run_all
from benchmarks.scheduling.provenance import provenance
from benchmarks.scheduling.runs import ENGINES, RunSpec, capacity_of
from benchmarks.scheduling.stock import BEST

PROFILES = ("llama-3-8b-1xh100", "opt-66b-4xa100-estimate", "llama-3-70b-4xh100")
TRAFFIC: Mapping[str, dict[str, Any]] = {
    "nothing in common": {},
    "prefix of 1,500": {"common_prefix": 1_500},
    "prefix of 6,000": {"common_prefix": 6_000},
    "sessions": {"sessions": True},
}
PACES = (4.8, 25.0)
LOADS = (0.6, 0.8, 1.0, 1.2, 1.4)
REQUESTS = 500.0
SHORTEST, LONGEST = 30.0, 240.0
"""Seconds of arrivals."""


def spec(profile: str, traffic: str, pace: float, load: float, *, seed: int, engine: str) -> RunSpec:
    """The run of a point."""
    wanted = RunSpec(
        scheduler="", profile=profile, pace=pace, load=load, seed=seed, engine=engine, **TRAFFIC[traffic]
    )  # fmt: skip
    duration = min(max(REQUESTS / (load * capacity_of(wanted)), SHORTEST), LONGEST)
    return replace(wanted, duration=float(round(duration)))


def main() -> int:
    """Runs what is missing, writing as it goes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--engine", default="vllm", choices=ENGINES, help="vLLM's own classes, or their compiled model")
    parser.add_argument("--points", default=":", help="FROM:TO, a part of the points")
    parser.add_argument("--quick", action="store_true", help="every 20th point; writes no file")
    parser.add_argument("--report-only", action="store_true", help="write the files from the runs that are cached")
    arguments = parser.parse_args()
    first, _, last = arguments.points.partition(":")
    wanted = list(product(PROFILES, TRAFFIC, PACES, LOADS))[int(first or 0) : int(last) if last else None]
    specs = [
        spec(*point, seed=arguments.seed, engine=arguments.engine) for point in wanted[:: 20 if arguments.quick else 1]
    ]

    def write(pairs: Sequence[Mapping[str, Any]]) -> None:
        if arguments.quick:
            return
        write_result(
            "scheduler-prefix",
            headline=summary(pairs),
            settings={
                **vars(arguments),
                **provenance("bench-prefix", seeds=[arguments.seed], profiles=PROFILES, lengths=["chat"]),
                "requests": REQUESTS, "stock": str(BEST),
            },
            figures={"points": list(pairs)},
            table=(COLUMNS, [row_of(pair) for pair in pairs]),
            packages=["vllm", "numpy", "numba"],
        )  # fmt: skip

    print(summary(run_all(specs, write, run=not arguments.report_only, every=10)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
