"""Is anybody worse off than with vLLM at its best? Profiles x length mixes x paces x loads x patience, short runs.

A designed subsample: every (profile, lengths, pace) at two loads, which rotate so that each load meets all the others;
the whole of it for each patience and each length of a common prefix. `checks.worse` says what counts as a violation. A
pace that a step of one decode cannot keep is out of reach: such points are run and shown, and count apart. Cached like
bench_scheduler's runs; writes benchmarks/results/scheduler-sweep.json and .md. `make bench-sweep`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from benchmarks.results_file import write_result
from benchmarks.scheduling.pairs import COLUMNS, row_of, run_all
from benchmarks.scheduling.provenance import provenance
from benchmarks.scheduling.runs import ENGINES, RunSpec, capacity
from benchmarks.scheduling.stock import BEST

from andante.profiles import load_profiles

PROFILES = ("opt-66b-4xa100-estimate", "llama-3-70b-4xh100", "llama-3-8b-1xa100")
LENGTHS = ("conversation", "code", "chat", "reasoning")
PACES = (4.8, 12.0, 25.0)
LOADS = (1.1, 0.8, 1.5, 0.5, 1.0, 2.0)
PREFIXES = (0, 1_500)
PATIENCE = (None, 60.0, 20.0)
REQUESTS = 500.0
SHORTEST, LONGEST = 60.0, 240.0
"""Seconds of arrivals."""


def design(per_pair: int) -> list[tuple[str, str, float, float]]:
    """(profile, lengths, pace, load), the loads rotating through the square."""
    points = []
    for turn in range(per_pair):
        for index, (profile, lengths) in enumerate(product(PROFILES, LENGTHS)):
            for place, pace in enumerate(PACES):
                points.append((profile, lengths, pace, LOADS[(index + 2 * place + 3 * turn) % len(LOADS)]))
    return points


def spec(
    point: tuple[str, str, float, float], *, patience: float | None, prefix: int, seed: int, engine: str
) -> RunSpec:  # fmt: skip
    """The run of a point."""
    profile, lengths, pace, load = point
    rate = load * capacity(profile, lengths, common_prefix=prefix, engine=engine)
    return RunSpec(
        scheduler="", profile=profile, lengths=lengths, pace=pace, load=load, seed=seed, engine=engine,
        duration=float(round(min(max(REQUESTS / rate, SHORTEST), LONGEST))), patience=patience, common_prefix=prefix,
    )  # fmt: skip


def in_reach(profile_name: str, pace: float) -> bool:
    """Whether a step that decodes for one reader alone is as quick as that reader reads."""
    alone = load_profiles()[profile_name].coefficients.step_seconds(
        prefill_tokens=0, prefill_pairs=0, decode_seqs=1, context_tokens=500
    )
    return alone < 1 / pace


def summary(pairs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How many points there are, and how many of them are worse than stock, in reach and out of it."""
    reach = [in_reach(pair["point"]["profile"], pair["point"]["pace"]) for pair in pairs]
    bad = [bool(pair["violations"]) for pair in pairs]
    return {
        "points": len(pairs),
        "points_in_reach": sum(reach),
        "points_in_reach_with_a_violation": sum(r and b for r, b in zip(reach, bad, strict=True)),
        "points_out_of_reach_with_a_violation": sum(b and not r for r, b in zip(reach, bad, strict=True)),
        "least_qoe_difference": round(min(p["qoe"]["mean_qoe"] - p["fcfs"]["mean_qoe"] for p in pairs), 4),
        "mean_qoe_difference": round(sum(p["qoe"]["mean_qoe"] - p["fcfs"]["mean_qoe"] for p in pairs) / len(pairs), 4),
        "least_throughput_ratio": round(min(p["qoe"]["throughput"] / p["fcfs"]["throughput"] for p in pairs), 4),
    }


def main() -> int:
    """Runs what is missing, writing as it goes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--per-pair", type=int, default=2, help="loads for each profile, lengths and pace")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--prefixes", type=int, nargs="+", default=list(PREFIXES), help="tokens of a common prefix")
    parser.add_argument(
        "--patience", type=float, nargs="+", default=[p or 0.0 for p in PATIENCE], help="means in s; 0: endless"
    )
    parser.add_argument("--engine", default="vllm", choices=ENGINES, help="vLLM's own classes, or their compiled model")
    parser.add_argument("--points", default=":", help="FROM:TO, a part of the points")
    parser.add_argument("--quick", action="store_true", help="every 40th point; writes no file")
    parser.add_argument("--report-only", action="store_true", help="write the files from the runs that are cached")
    arguments = parser.parse_args()
    first, _, last = arguments.points.partition(":")
    wanted = [
        (point, patience or None, prefix)
        for prefix, patience, point in product(arguments.prefixes, arguments.patience, design(arguments.per_pair))
    ][int(first or 0) : int(last) if last else None][:: 40 if arguments.quick else 1]
    specs = [
        spec(point, patience=patience, prefix=prefix, seed=arguments.seed, engine=arguments.engine)
        for point, patience, prefix in wanted
    ]

    def write(pairs: Sequence[Mapping[str, Any]]) -> None:
        if arguments.quick:
            return
        write_result(
            "scheduler-sweep",
            headline=summary(pairs),
            settings={
                **vars(arguments),
                **provenance("bench-sweep", seeds=[arguments.seed], profiles=PROFILES, lengths=LENGTHS),
                "requests": REQUESTS, "stock": str(BEST),
            },
            figures={"points": list(pairs)},
            table=(COLUMNS, [row_of(pair) for pair in pairs]),
            packages=["vllm", "numpy", "numba"],
        )  # fmt: skip

    pairs = run_all(specs, write, run=not arguments.report_only, every=10)
    print(summary(pairs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
