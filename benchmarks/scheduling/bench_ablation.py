"""Does each part of the policy earn its place? The policy with one part changed, same arrivals, in virtual time.

Cached like bench_scheduler's runs. Writes benchmarks/results/scheduler-ablation.json and .md. Run by
`make bench-ablation`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from benchmarks.results_file import write_result
from benchmarks.scheduling.runs import RunSpec, cached_run

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "as shipped": {},
    "no preemption": {"preemption": False},
    "recompute at its bare price": {"preemption_margin": 0.0},
    "recompute at twice its price": {"preemption_margin": 1.0},
    "a fifth of the preemptions": {"max_preemptions_per_request": 0.1},
    "four times the recompute": {"recompute_share": 0.2},
    "no ageing share": {"ageing_share": 0.0},
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


def _write(arguments: argparse.Namespace, figures: Mapping[str, Any], rows: list[list[object]]) -> None:
    shipped = figures["as shipped"]["scores"]["mean_qoe"] if "as shipped" in figures else None
    write_result(
        arguments.name,
        headline={"mean_qoe_as_shipped": shipped} if shipped is not None else {},
        settings={**vars(arguments), "variants": {name: dict(EVERY[name]) for name in arguments.variants}},
        figures=figures,
        table=(
            [
                "policy", "mean QoE", "p5", "good", "tokens/s", "smooth goodput", "longest wait s", "preemptions",
                "recomputed",
            ],
            rows,
        ),
        packages=["vllm", "numpy", "numba"],
    )  # fmt: skip


def main() -> int:
    """Runs what is missing and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--load", type=float, default=1.3)
    parser.add_argument("--duration", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mix", default="one", choices=("one", "mixed"))
    parser.add_argument("--profile", default="opt-66b-4xa100-estimate")
    parser.add_argument("--lengths", default="chat")
    parser.add_argument("--pace", type=float, default=4.8)
    parser.add_argument("--variants", nargs="+", default=list(EVERY), choices=list(EVERY), metavar="VARIANT")
    parser.add_argument("--name", default="scheduler-ablation", help="name of the result files")
    arguments = parser.parse_args()
    rows: list[list[object]] = []
    figures: dict[str, Any] = {}
    for name in arguments.variants:
        spec = RunSpec(
            scheduler="andes" if name in ANDES_VARIANTS else "qoe",
            profile=arguments.profile,
            lengths=arguments.lengths,
            load=arguments.load,
            seed=arguments.seed,
            duration=arguments.duration,
            pace=arguments.pace,
            mix=arguments.mix,
            options=EVERY[name],
        )
        result = cached_run(spec)
        s = result["scores"]
        figures[name] = result
        row = [
            name, f"{s['mean_qoe']:.4f}", f"{s['p5_qoe']:.3f}", f"{s['share_good']:.3f}", f"{s['throughput']:.0f}",
            f"{s['smooth_goodput']:.0f}", f"{s['longest_wait']:.0f}", s["preemptions"], s["recomputed_tokens"],
        ]  # fmt: skip
        rows.append(row)
        print(row, flush=True)
        _write(arguments, figures, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
