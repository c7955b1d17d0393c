"""Runs what a table needs, and averages it over the seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from benchmarks.scheduling.runs import RunSpec, cached_result, cached_run, name_of

FIGURES = (
    "mean_qoe", "mean_andes_qoe", "p1_qoe", "p5_qoe", "share_good", "share_left", "share_gave_up", "throughput",
    "throughput_to_95", "smooth_goodput", "ttft_p95", "preemptions", "recomputed_tokens",
)  # fmt: skip
Points = dict[tuple[str, float], dict[str, Any]]
"""By scheduler, as tables name it, and load."""


def gather(wanted: Sequence[RunSpec], *, run: bool = True) -> list[dict[str, Any]]:
    """The results of `wanted`; those that are not cached are run, or left out when `run` is false."""
    results = []
    for number, spec in enumerate(wanted, 1):
        result = cached_run(spec) if run else cached_result(spec)
        if result is None:
            continue
        results.append(result)
        scores = result["scores"]
        patience = "" if spec.patience is None else f" patience {spec.patience:g} s"
        print(
            f"[{number}/{len(wanted)}] {name_of(result['spec']):13} load {spec.load:<4} seed {spec.seed}{patience}: "
            f"mean QoE {scores['mean_qoe']:.4f}, {scores['share_left']:.2%} left, p5 {scores['p5_qoe']:.3f}, "
            f"{scores['throughput']:.0f} tokens/s, smooth goodput {scores['smooth_goodput']:.0f} "
            f"({spec.engine}, {result['wall_seconds']:.0f} s)",
            flush=True,
        )
    return results


def average(results: Sequence[Mapping[str, Any]]) -> Points:
    """Mean over the seeds of each scheduler and load, with the seeds and the range of mean QoE."""
    groups: dict[tuple[str, float], list[Mapping[str, Any]]] = {}
    for result in results:
        groups.setdefault((name_of(result["spec"]), result["spec"]["load"]), []).append(result)
    return {
        key: {figure: float(np.mean([r["scores"][figure] for r in runs])) for figure in FIGURES}
        | {
            "seeds": sorted(r["spec"]["seed"] for r in runs),
            "engine": "/".join(sorted({r["spec"]["engine"] for r in runs})),
            "mean_qoe_lowest": float(min(r["scores"]["mean_qoe"] for r in runs)),
            "mean_qoe_highest": float(max(r["scores"]["mean_qoe"] for r in runs)),
            "longest_wait": float(max(r["scores"]["longest_wait"] for r in runs)),
        }
        for key, runs in groups.items()
    }


def load_held(points: Points, scheduler: str, objective: float, figure: str = "mean_qoe") -> float | None:
    """Highest load with `figure` >= `objective`, linear between the loads measured; None where it is not crossed."""
    curve = sorted((load, point[figure]) for (name, load), point in points.items() if name == scheduler)
    for (low, above), (high, below) in pairwise(curve):
        if above >= objective > below:
            return low + (high - low) * (above - objective) / (above - below)
    return None


COLUMNS = (
    "load", "scheduler", "mean QoE", "left", "smooth goodput", "p1", "p5", "good", "longest wait s", "tokens/s",
    "recomputed", "seeds",
)  # fmt: skip


def rows_of(points: Points) -> list[list[object]]:
    """The rows of a table with `COLUMNS`, by load and then by mean QoE."""
    return [
        [
            f"{load:g}", name, f"{p['mean_qoe']:.4f}", f"{p['share_left']:.2%}", f"{p['smooth_goodput']:.0f}",
            f"{p['p1_qoe']:.3f}", f"{p['p5_qoe']:.3f}", f"{p['share_good']:.3f}", f"{p['longest_wait']:.0f}",
            f"{p['throughput']:.0f}", f"{p['recomputed_tokens']:.0f}", len(p["seeds"]),
        ]
        for (name, load), p in sorted(points.items(), key=lambda item: (item[0][1], -item[1]["mean_qoe"]))
    ]  # fmt: skip
