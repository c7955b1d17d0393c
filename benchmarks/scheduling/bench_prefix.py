"""Prompts that begin alike: system prompts of 1,500 and 6,000 tokens, and sessions, each prompt with its history.

`qoe` against vLLM's FCFS at its best (`--watermark 0.02`), each at every load; load 1.0 is what that FCFS completes of
an endless queue of the same requests. A violation is a mean QoE below FCFS's less .002, or a smooth goodput below
FCFS's by more than 1 % of the throughput. A pace that a step of one decode cannot keep is out of reach: such points are
run and shown, and count apart. Resumable: each run is cached; writes benchmarks/results/scheduler-prefix.json and .md
after every point. `make bench-prefix`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Any

from benchmarks.results_file import write_result
from benchmarks.scheduling.against_fcfs import LEAST_QOE, TOLERANCE, worse
from benchmarks.scheduling.runs import RunSpec, cached_result, cached_run, capacity_of

from andante.domain.step_time import Profile
from andante.profiles import load_profiles

PROFILES = ("llama-3-8b-1xh100", "opt-66b-4xa100-estimate", "llama-3-70b-4xh100")
TRAFFIC: Mapping[str, dict[str, Any]] = {
    "nothing in common": {},
    "prefix of 1,500": {"common_prefix": 1_500},
    "prefix of 6,000": {"common_prefix": 6_000},
    "sessions": {"sessions": True},
}
PACES = (4.8, 25.0)
LOADS = (0.6, 0.8, 1.0, 1.2, 1.4)
WATERMARK = 0.02
"""Share of the KV blocks that the rival leaves free."""
REQUESTS = 500.0
SHORTEST, LONGEST = 30.0, 240.0
"""Seconds of arrivals."""
COLUMNS = (
    "profile", "prompts", "pace", "load", "mean QoE", "FCFS", "p5 QoE", "FCFS", "smooth goodput", "FCFS",
    "TTFT p95 (s)", "FCFS", "worse than FCFS in",
)  # fmt: skip

Point = tuple[str, str, float, float]


def spec(scheduler: str, point: Point, *, seed: int) -> RunSpec:
    """The run of a point."""
    profile, traffic, pace, load = point
    wanted = RunSpec(
        scheduler=scheduler,
        profile=profile,
        pace=pace,
        load=load,
        seed=seed,
        watermark=WATERMARK if scheduler == "fcfs" else 0.0,
        rival_watermark=WATERMARK,
        **TRAFFIC[traffic],
    )
    duration = min(max(REQUESTS / (load * capacity_of(wanted)), SHORTEST), LONGEST)
    return replace(wanted, duration=float(round(duration)))


def in_reach(profile: Profile, pace: float) -> bool:
    """Whether a step that decodes for one reader alone is as quick as that reader reads."""
    return profile.coefficients.step_seconds(prefill_tokens=0, prefill_pairs=0, decode_seqs=1, context_tokens=500) < (
        1 / pace
    )


def main() -> int:
    """Runs what is missing, writing after each point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report-only", action="store_true", help="write the files from the runs that are cached")
    arguments = parser.parse_args()
    profiles = load_profiles()
    points: list[Point] = [
        (profile, traffic, pace, load)
        for profile, traffic, pace, load in product(PROFILES, TRAFFIC, PACES, LOADS)
    ]  # fmt: skip
    rows: list[list[object]] = []
    figures = []
    for number, point in enumerate(points, 1):
        results = {}
        for name in ("fcfs", "qoe"):
            wanted = spec(name, point, seed=arguments.seed)
            result = cached_result(wanted) if arguments.report_only else cached_run(wanted)
            if result:
                results[name] = result["scores"]
        if len(results) < 2:
            continue
        ours, stock = results["qoe"], results["fcfs"]
        bad = worse(ours, stock)
        reach = in_reach(profiles[point[0]], point[2])
        figures.append({"point": point, "in_reach": reach, "qoe": ours, "fcfs": stock, "violations": bad})
        rows.append(
            [
                *point,
                *(f"{s[name]:.3f}" for name in ("mean_qoe", "p5_qoe") for s in (ours, stock)),
                *(f"{s['smooth_goodput']:.0f}" for s in (ours, stock)),
                *(f"{s['ttft_p95']:.2f}" for s in (ours, stock)),
                (", ".join(bad) or "none") + ("" if reach else " (pace out of reach)"),
            ]
        )
        print(f"[{number}/{len(points)}]", *rows[-1], flush=True)
        write_result(
            "scheduler-prefix",
            headline={
                "points": len(rows),
                "points_in_reach": sum(f["in_reach"] for f in figures),
                "points_in_reach_with_a_violation": sum(bool(f["in_reach"] and f["violations"]) for f in figures),
                "points_out_of_reach_with_a_violation": sum(
                    bool(f["violations"] and not f["in_reach"]) for f in figures
                ),
            },
            settings={
                **vars(arguments), "requests": REQUESTS, "rival_watermark": WATERMARK, "least_qoe": LEAST_QOE,
                "goodput_tolerance": TOLERANCE,
            },
            figures={"points": figures},
            table=(list(COLUMNS), rows),
            packages=["vllm", "numpy", "numba"],
        )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
