"""Does each part of the policy earn its place? The policy with one part changed, same arrivals, in virtual time.

What binds decides what a part is worth, so there are several points. Cached like bench_scheduler's runs. Writes
benchmarks/results/scheduler-ablation*.json and .md. Run by `make bench-ablation`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from benchmarks.results_file import write_result
from benchmarks.scheduling.bench_surge import SURGE
from benchmarks.scheduling.runs import RunSpec, cached_run

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "as shipped": {},
    "no preemption": {"preemption": False},
    "recompute at half its price": {"preemption_margin": 0.5},
    "recompute at twice its price": {"preemption_margin": 2.0},
    "comebacks at any time": {"calm": 0.0},
    "preemptions for whoever waits at all": {"preemption_patience": 0.0},
    "preemptions expected to be short": {"time_off": 60.0},
    "no urgency": {"urgency": 0.0},
    "steps no longer than the pace": {"slack_share": 0.0},
    "a fifth of the preemptions": {"max_preemptions_per_request": 0.1},
    "a fifth of the recompute": {"recompute_share": 0.01},
    "four times the recompute": {"recompute_share": 0.2},
    "ageing share 0.01": {"ageing_share": 0.01},
    "ageing share 0.05": {"ageing_share": 0.05},
    "KV headroom 0.05": {"kv_headroom": 0.05},
    "ageing share 0.1": {"ageing_share": 0.1},
    "horizon fixed at 20 s": {"shortest_horizon": 20.0, "longest_horizon": 20.0},
    "horizon fixed at 200 s": {"shortest_horizon": 200.0, "longest_horizon": 200.0},
    "no KV headroom": {"kv_headroom": 0.0},
    "no prefill cap": {"prefill_cap": 1e6},
    "no step-time cap": {"pace_margin": 1e6},
    "no price for slowing others": {"slowdown_price": 0.0},
    "steps no longer in a queue": {"crowded_step_margin": 1.0},
    "step time not learned": {"online_step_time": False},
    "lengths not learned": {"online_lengths": False},
}
ANDES_VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "andes": {},
    "andes, no refiner": {"refine": False},
    "andes, no running bonus": {"running_bonus": 0.0},
    "andes, running bonus 0.5": {"running_bonus": 0.5},
    "andes, no trigger": {"kv_trigger": 0.0},
    "andes, 0.1 preemptions per request": {"max_preemptions_per_request": 0.1},
}
EVERY = {**VARIANTS, **ANDES_VARIANTS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Where the parts are compared: one run, and the variants that can matter there."""

    about: str
    run: RunSpec
    variants: Sequence[str]
    result: str
    """Name of the result files."""


_PACED = (
    "as shipped", "no preemption", "no prefill cap", "no step-time cap", "no price for slowing others",
    "steps no longer in a queue", "step time not learned", "lengths not learned", "horizon fixed at 20 s",
    "horizon fixed at 200 s",
)  # fmt: skip
POINTS: Mapping[str, Point] = {
    "memory": Point(
        about="the paper's profile, where KV memory binds",
        run=RunSpec(scheduler="qoe", load=1.3, duration=300.0),
        variants=tuple(EVERY),
        result="scheduler-ablation",
    ),
    "surge": Point(
        about="the same in a surge",
        run=RunSpec(scheduler="qoe", load=0.85, duration=240.0, surge=SURGE),
        variants=(
            "as shipped", "no preemption", "recompute at half its price", "recompute at twice its price",
            "comebacks at any time",
            "a fifth of the preemptions", "a fifth of the recompute", "four times the recompute", "andes",
        ),
        result="scheduler-ablation-surge",
    ),
    "pace": Point(
        about="readers at pace 25, where step time binds",
        run=RunSpec(scheduler="qoe", load=1.1, duration=200.0, pace=25.0),
        variants=_PACED,
        result="scheduler-ablation-pace",
    ),
    "code": Point(
        about="70B on 4 H100 with code's long prompts, where prefill binds",
        run=RunSpec(
            scheduler="qoe", profile="llama-3-70b-4xh100", lengths="code", pace=12.0, load=1.1, duration=120.0
        ),
        variants=_PACED,
        result="scheduler-ablation-code",
    ),
    "queue": Point(
        about="the same GPUs in deep overload that time, not memory, makes",
        run=RunSpec(scheduler="qoe", profile="llama-3-70b-4xh100", pace=12.0, load=2.0, duration=60.0),
        variants=(
            "as shipped", "steps no longer in a queue", "no price for slowing others", "no prefill cap",
            "ageing share 0.01",
        ),
        result="scheduler-ablation-queue",
    ),
}  # fmt: skip
_COLUMNS = (
    "policy", "mean QoE", "p5", "good", "tokens/s", "smooth goodput", "longest wait s", "preemptions", "recomputed",
)  # fmt: skip


def _compare(point: Point, seed: int, variants: Sequence[str]) -> None:
    """Runs what is missing of one point; the files are written after each run."""
    rows: list[list[object]] = []
    figures: dict[str, Any] = {}
    for name in variants:
        scheduler = "andes" if name in ANDES_VARIANTS else "qoe"
        figures[name] = cached_run(replace(point.run, scheduler=scheduler, seed=seed, options=EVERY[name]))
        s = figures[name]["scores"]
        row = [
            name, f"{s['mean_qoe']:.4f}", f"{s['p5_qoe']:.3f}", f"{s['share_good']:.3f}", f"{s['throughput']:.0f}",
            f"{s['smooth_goodput']:.0f}", f"{s['longest_wait']:.0f}", s["preemptions"], s["recomputed_tokens"],
        ]  # fmt: skip
        rows.append(row)
        print(row, flush=True)
        shipped = figures["as shipped"]["scores"]["mean_qoe"] if "as shipped" in figures else None
        write_result(
            point.result,
            headline={"mean_qoe_as_shipped": shipped} if shipped is not None else {},
            settings={
                **asdict(replace(point.run, seed=seed)), "variants": {name: dict(EVERY[name]) for name in variants},
            },
            figures=figures,
            table=(_COLUMNS, rows),
            packages=["vllm", "numpy", "numba"],
        )  # fmt: skip


def main() -> int:
    """Runs what is missing and writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--points", nargs="+", default=list(POINTS), choices=list(POINTS),
        help="; ".join(f"{name}: {point.about}" for name, point in POINTS.items()),
    )  # fmt: skip
    parser.add_argument("--variants", nargs="+", choices=list(EVERY), metavar="VARIANT", help="default: the point's")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    for name in arguments.points:
        point = POINTS[name]
        print(f"{name}: {point.about}", flush=True)
        _compare(point, arguments.seed, arguments.variants or point.variants)
    return 0


if __name__ == "__main__":
    sys.exit(main())
