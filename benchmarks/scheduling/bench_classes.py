"""Does one class pay for another? Mixes of readers, an interactive chat (25 tokens/s, first token in .45 s) and batch.

Per class against FCFS at its best and vLLM's priority scheduling (tighter paces first); `qoe` with its objectives and
with an ageing share. Cached like bench_scheduler's runs. Writes benchmarks/results/scheduler-classes.json and .md.
`make bench-classes`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
from benchmarks.results_file import write_result
from benchmarks.scheduling.provenance import provenance
from benchmarks.scheduling.runs import ENGINES, MIXES, RunSpec, cached_run, capacity_of, named
from benchmarks.scheduling.stock import BEST

VARIANTS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "fcfs": ("fcfs", {}),
    "priority": ("priority", {}),
    "qoe": ("qoe", {}),
    "qoe, ageing share 0.01": ("qoe", {"ageing_share": 0.01}),
    "qoe, maxmin": ("qoe", {"objective": "maxmin"}),
    "qoe, perfect": ("qoe", {"objective": "perfect"}),
}
PROFILES = ("opt-66b-4xa100-estimate", "llama-3-8b-1xa100")
ALL = "all"
FIGURES = ("mean_qoe", "p1_qoe", "p5_qoe", "share_good", "ttft_p50", "ttft_p95", "longest_wait", "throughput")
COLUMNS = (
    "profile", "requests", "load", "scheduler", "class", "mean QoE", "p1", "p5", "good", "TTFT p50 s", "TTFT p95 s",
    "longest wait s", "tokens/s", "seeds",
)  # fmt: skip


def mix_in_words(mix: str) -> str:
    """What the classes of a mix are, and their shares."""
    return ", ".join(f"{share:.0%} {name}" for name, share in MIXES[mix].items())


def by_class(results: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Of all requests and of each class the mean of each figure over the runs; None where nobody has it."""
    found: dict[str, dict[str, float | None]] = {}
    for name in (ALL, *results[0]["per_class"]):
        scores = [result["scores"] if name == ALL else result["per_class"][name] for result in results]
        found[name] = {
            figure: None if scores[0][figure] is None else float(np.mean([s[figure] for s in scores]))
            for figure in FIGURES
        }
    return found


def main() -> int:
    """Runs what is missing, writing after each mix."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loads", type=float, nargs="+", default=[1.0, 1.2, 1.5])
    parser.add_argument("--duration", type=float, default=300.0)
    parser.add_argument("--profiles", nargs="+", default=list(PROFILES))
    parser.add_argument("--mixes", nargs="+", default=list(MIXES), choices=list(MIXES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13])
    parser.add_argument("--engine", default="vllm", choices=ENGINES, help="vLLM's own classes, or their compiled model")
    arguments = parser.parse_args()
    rows: list[list[object]] = []
    points = []
    for profile, mix, load in product(arguments.profiles, arguments.mixes, arguments.loads):
        spec = RunSpec(
            scheduler="", profile=profile, load=load, duration=arguments.duration, mix=mix, engine=arguments.engine
        )
        for variant, (scheduler, options) in VARIANTS.items():
            wanted = named(scheduler, replace(spec, options=options))
            runs = [cached_run(replace(wanted, seed=seed)) for seed in arguments.seeds]
            classes = by_class(runs)
            point = {"profile": profile, "mix": mix, "load": load, "variant": variant}
            points.append({**point, "requests_per_second": round(load * capacity_of(spec), 2), "classes": classes})
            for name, scores in classes.items():
                cells = [scores[figure] for figure in FIGURES]
                rows.append(
                    [profile, mix_in_words(mix), f"{load:g}", variant, name]
                    + ["none" if cell is None else f"{cell:.3f}" for cell in cells[:4]]
                    + [f"{cell:.1f}" for cell in cells[4:] if cell is not None]
                    + [len(runs)]
                )
            print(*rows[-len(classes)], *(f"{name} {s['mean_qoe']}" for name, s in classes.items()), flush=True)
        write_result(
            "scheduler-classes",
            headline={},
            settings={
                **vars(arguments),
                **provenance("bench-classes", seeds=arguments.seeds, profiles=arguments.profiles, lengths=["chat"]),
                "mixes": MIXES, "lengths": "chat", "stock": str(BEST),
            },
            figures={"points": points},
            table=(COLUMNS, rows),
            packages=["vllm", "numpy", "numba"],
        )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
