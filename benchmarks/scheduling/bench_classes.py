"""Does one class pay for another? Half reading, a quarter interactive chat (25 tokens/s), a quarter batch work.

Per class against FCFS and vLLM's priority scheduling (tighter paces first); `qoe` with its objectives. Cached like
bench_scheduler's runs. Writes benchmarks/results/scheduler-classes.json and .md. `make bench-classes`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from benchmarks.results_file import write_result
from benchmarks.scheduling.runs import RunSpec, cached_run

VARIANTS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "fcfs": ("fcfs", {}),
    "qoe": ("qoe", {}),
    "qoe, maxmin": ("qoe", {"objective": "maxmin"}),
    "qoe, perfect": ("qoe", {"objective": "perfect"}),
    "priority": ("priority", {}),
}


def main() -> int:
    """Runs what is missing, writing after each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loads", type=float, nargs="+", default=[1.0, 1.3])
    parser.add_argument("--duration", type=float, default=180.0)
    parser.add_argument("--profile", default="opt-66b-4xa100-estimate")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rows: list[list[object]] = []
    figures = []
    for load in arguments.loads:
        for name, (scheduler, options) in VARIANTS.items():
            spec = RunSpec(
                scheduler=scheduler, profile=arguments.profile, load=load, seed=arguments.seed,
                duration=arguments.duration, mix="mixed", options=options,
            )  # fmt: skip
            result = cached_run(spec)
            figures.append({"variant": name, **result})
            for class_name, scores in {"all": result["scores"], **result["per_class"]}.items():
                rows.append(
                    [load, name, class_name]
                    + [
                        "none" if scores[figure] is None else f"{scores[figure]:.3f}"
                        for figure in ("mean_qoe", "p1_qoe", "p5_qoe", "share_good")
                    ]
                    + [f"{scores[figure]:.1f}" for figure in ("ttft_p50", "ttft_p95", "longest_wait", "throughput")]
                )
            print(*rows[-4], flush=True)
            write_result(
                "scheduler-classes",
                headline={},
                settings={**vars(arguments), "mix": "reading .5, chat-interactive .25, batch .25", "lengths": "chat"},
                figures={"runs": figures},
                table=(
                    ["load", "scheduler", "class", "mean QoE", "p1", "p5", "good", "TTFT p50 s", "TTFT p95 s",
                     "longest wait s", "tokens/s"],
                    rows,
                ),
                packages=["vllm", "numpy", "numba"],
            )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
