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

import numpy as np
from benchmarks.results_file import write_result
from benchmarks.scheduling.bench_surge import SURGE
from benchmarks.scheduling.provenance import provenance
from benchmarks.scheduling.runs import ENGINES, RunSpec, cached_run, named

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
    "steps no longer in a queue", "steps no longer than the pace", "no urgency", "step time not learned",
    "lengths not learned", "horizon fixed at 20 s", "horizon fixed at 200 s",
)  # fmt: skip
POINTS: Mapping[str, Point] = {
    "memory": Point(
        about="the paper's profile, where KV memory binds",
        run=RunSpec(scheduler="qoe", load=1.2, duration=1200.0),
        variants=tuple(VARIANTS),
        result="scheduler-ablation",
    ),
    "surge": Point(
        about="the same in a surge",
        run=RunSpec(scheduler="qoe", load=0.75, duration=240.0, surge=SURGE),
        variants=(
            "as shipped", "no preemption", "recompute at half its price", "recompute at twice its price",
            "comebacks at any time", "preemptions for whoever waits at all", "preemptions expected to be short",
            "a fifth of the preemptions", "a fifth of the recompute", "four times the recompute",
        ),
        result="scheduler-ablation-surge",
    ),
    "pace": Point(
        about="readers at pace 25, where step time binds",
        run=RunSpec(scheduler="qoe", load=1.1, duration=300.0, pace=25.0),
        variants=_PACED,
        result="scheduler-ablation-pace",
    ),
    "code": Point(
        about="70B on 4 H100 with code's long prompts, where prefill binds",
        run=RunSpec(
            scheduler="qoe", profile="llama-3-70b-4xh100", lengths="code", pace=12.0, load=1.1, duration=300.0
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
    "andes": Point(
        about="the paper's profile, where KV memory binds, and the parts of Andes",
        run=RunSpec(scheduler="qoe", load=1.2, duration=300.0),
        variants=("as shipped", *ANDES_VARIANTS),
        result="scheduler-ablation-andes",
    ),
}  # fmt: skip
_FIGURES = (
    "mean_qoe", "p5_qoe", "share_good", "throughput", "smooth_goodput", "longest_wait", "preemptions",
    "recomputed_tokens",
)  # fmt: skip
_COLUMNS = (
    "policy", "mean QoE", "lowest to highest", "p5", "good", "tokens/s", "smooth goodput", "longest wait s",
    "preemptions", "recomputed", "seeds",
)  # fmt: skip


def _compare(point: Point, seeds: Sequence[int], variants: Sequence[str], engine: str) -> None:
    """Runs what is missing of one point; the files are written after each variant."""
    rows: list[list[object]] = []
    figures: dict[str, Any] = {}
    for name in variants:
        scheduler = "andes" if name in ANDES_VARIANTS else "qoe"
        spec = named(scheduler, replace(point.run, options=EVERY[name], engine=engine))
        runs = [cached_run(replace(spec, seed=seed)) for seed in seeds]
        scores = [run["scores"] for run in runs]
        mean = {figure: float(np.mean([s[figure] for s in scores])) for figure in _FIGURES}
        qoe = [s["mean_qoe"] for s in scores]
        figures[name] = {**mean, "mean_qoe_by_seed": dict(zip(seeds, qoe, strict=True)), "engine": spec.engine}
        row = [
            name, f"{mean['mean_qoe']:.4f}", f"{min(qoe):.4f} to {max(qoe):.4f}", f"{mean['p5_qoe']:.3f}",
            f"{mean['share_good']:.3f}", f"{mean['throughput']:.0f}", f"{mean['smooth_goodput']:.0f}",
            f"{max(s['longest_wait'] for s in scores):.0f}", f"{mean['preemptions']:.0f}",
            f"{mean['recomputed_tokens']:.0f}", len(runs),
        ]  # fmt: skip
        rows.append(row)
        print(row, flush=True)
        shipped = figures.get("as shipped")
        write_result(
            point.result,
            headline={"mean_qoe_as_shipped": round(shipped["mean_qoe"], 4)} if shipped else {},
            settings={
                **asdict(point.run), "seed": list(seeds), "engine": engine,
                "variants": {name: dict(EVERY[name]) for name in variants},
                **provenance(
                    "bench-ablation", seeds=seeds, profiles=[point.run.profile], lengths=[point.run.lengths]
                ),
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
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13])
    parser.add_argument("--engine", default="vllm", choices=ENGINES, help="vLLM's own classes, or their compiled model")
    arguments = parser.parse_args()
    for name in arguments.points:
        point = POINTS[name]
        print(f"{name}: {point.about}", flush=True)
        _compare(point, arguments.seeds, arguments.variants or point.variants, arguments.engine)
    return 0


if __name__ == "__main__":
    sys.exit(main())
