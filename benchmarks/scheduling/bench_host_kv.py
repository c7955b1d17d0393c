"""How much of the host's memory KV needs, and what it matters whose goes first: `qoe` at one load, in virtual time.

Cached like bench_scheduler's runs, with which it shares some; each row is the mean over the seeds. Writes
benchmarks/results/scheduler-host-kv.json and .md. `make bench-host-kv`.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from statistics import fmean
from typing import Any

from benchmarks.results_file import write_result
from benchmarks.scheduling.averages import FIGURES
from benchmarks.scheduling.provenance import provenance
from benchmarks.scheduling.runs import ENGINES, RunSpec, cached_run

from andante.profiles import load_profiles


def main() -> int:
    """Runs what is missing and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="opt-66b-4xa100-estimate")
    parser.add_argument("--load", type=float, default=1.3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13])
    parser.add_argument("--engine", default="vllm", choices=ENGINES, help="vLLM's own classes, or their compiled model")
    parser.add_argument("--duration", type=float, default=1200.0, help="seconds of arrivals")
    parser.add_argument(
        "--gib", type=float, nargs="+", default=[0.0, 120.0, 180.0, 240.0, 480.0], help="sizes of the memory"
    )
    parser.add_argument(
        "--vllms-order", type=float, nargs="*", default=[240.0, 480.0], help="sizes with vLLM's own eviction"
    )
    arguments = parser.parse_args()
    profile = load_profiles()[arguments.profile]
    on_gpu = profile.kv_capacity_tokens * profile.kv_bytes_per_token / 2**30
    rows: list[list[object]] = []
    figures = []
    headline: dict[str, float] = {}
    runs: list[tuple[float, str, dict[str, Any]]] = [
        *((gib, "ended requests' KV" if gib else "none", {}) for gib in arguments.gib),
        *((gib, "least recently used (vLLM)", {"ended_first": False}) for gib in arguments.vllms_order),
    ]
    for gib, first, options in runs:
        spec = RunSpec(
            scheduler="qoe", profile=arguments.profile, load=arguments.load, duration=arguments.duration,
            kv_offload_gib=gib, options=options, engine=arguments.engine,
        )  # fmt: skip
        results = [cached_run(replace(spec, seed=seed))["scores"] for seed in arguments.seeds]
        scores = {name: fmean(result[name] for result in results) for name in FIGURES}
        figures.append({"gib": gib, "given_up_first": first, **scores})
        headline[f"mean_qoe_{gib:g}_gib{'_lru' if options else ''}"] = round(scores["mean_qoe"], 4)
        rows.append(
            [
                f"{gib:g}", f"{gib / on_gpu:.1f}", first, f"{scores['mean_qoe']:.4f}",
                f"{scores['p5_qoe']:.3f}", f"{scores['share_good']:.3f}", f"{scores['throughput']:.0f}",
                f"{scores['smooth_goodput']:.0f}", f"{scores['preemptions']:.0f}",
                f"{scores['recomputed_tokens']:.0f}",
            ]
        )  # fmt: skip
        print(rows[-1], flush=True)
    print(
        write_result(
            "scheduler-host-kv",
            headline=headline,
            settings={
                **vars(arguments),
                "gpu_kv_gib": round(on_gpu, 1),
                **provenance("bench-host-kv", seeds=arguments.seeds, profiles=[arguments.profile], lengths=["chat"]),
            },
            figures={"points": figures},
            table=(
                [
                    "host memory GiB", "times the GPU's KV", "given up first", "mean QoE", "p5", "good", "tokens/s",
                    "smooth goodput", "preemptions", "recomputed",
                ],
                rows,
            ),
            packages=["vllm", "numpy", "numba"],
        )
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
