"""Quality of experience over load: vLLM's own schedulers, Andes and ours, in virtual time on a step-time profile.

Every run is cached under $ANDANTE_CACHE, so a bench that is stopped goes on where it was; a change of the harness or of
the scheduler's code makes its runs stale. Writes benchmarks/results/scheduler.json, .md and .svg from whatever has been
run. `make bench-scheduler`; one process, one to three minutes for each 20-minute run, hours for all.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise, product
from typing import Any

import numpy as np
from benchmarks.results_file import RESULTS, write_result
from benchmarks.scheduling.plot import Curve, qoe_over_load
from benchmarks.scheduling.runs import (
    HOST_KV_GIB,
    NAMES,
    WITH_HOST,
    RunSpec,
    cached_result,
    cached_run,
    capacity,
    split_name,
)
from benchmarks.scheduling.workload import LENGTHS

FIGURES = ("mean_qoe", "mean_andes_qoe", "p1_qoe", "p5_qoe", "share_good", "throughput", "smooth_goodput", "ttft_p95")
Points = dict[tuple[str, float], dict[str, float]]


def specs(arguments: argparse.Namespace) -> list[RunSpec]:
    """All runs asked for, the first seed of everything before the second."""
    return [
        RunSpec(
            scheduler=scheduler, profile=arguments.profile, lengths=arguments.lengths, load=load, seed=seed,
            duration=arguments.duration, pace=arguments.pace, mix=arguments.mix,
            kv_offload_gib=gib,
        )
        for seed, load, (scheduler, gib) in product(
            arguments.seeds, arguments.loads, [split_name(n, arguments.kv_offload_gib) for n in arguments.schedulers]
        )
    ]  # fmt: skip


def gather(wanted: Sequence[RunSpec], *, run: bool) -> list[dict[str, Any]]:
    """The results of `wanted`; those that are not cached are run, or left out when `run` is false."""
    results = []
    for number, spec in enumerate(wanted, 1):
        result = cached_run(spec) if run else cached_result(spec)
        if result is None:
            continue
        results.append(result)
        scores = result["scores"]
        print(
            f"[{number}/{len(wanted)}] {label(result['spec']):9} load {spec.load:<4} seed {spec.seed}: "
            f"mean QoE {scores['mean_qoe']:.4f}, p5 {scores['p5_qoe']:.3f}, good {scores['share_good']:.3f}, "
            f"{scores['throughput']:.0f} tokens/s, smooth goodput {scores['smooth_goodput']:.0f} "
            f"({result['wall_seconds']:.0f} s)",
            flush=True,
        )
    return results


def label(spec: Mapping[str, Any]) -> str:
    """The scheduler's name in tables."""
    return str(spec["scheduler"]) + (WITH_HOST if spec["kv_offload_gib"] else "")


def average(results: Sequence[Mapping[str, Any]]) -> Points:
    """Mean over the seeds of each (scheduler, load), with the number of seeds and the range of mean QoE."""
    groups: dict[tuple[str, float], list[Mapping[str, Any]]] = {}
    for result in results:
        groups.setdefault((label(result["spec"]), result["spec"]["load"]), []).append(result["scores"])
    return {
        key: {figure: float(np.mean([s[figure] for s in scores])) for figure in FIGURES}
        | {
            "seeds": float(len(scores)),
            "mean_qoe_lowest": float(min(s["mean_qoe"] for s in scores)),
            "mean_qoe_highest": float(max(s["mean_qoe"] for s in scores)),
            "longest_wait": float(max(s["longest_wait"] for s in scores)),
            "preemptions": float(np.mean([s["preemptions"] for s in scores])),
            "recomputed_tokens": float(np.mean([s["recomputed_tokens"] for s in scores])),
        }
        for key, scores in groups.items()
    }


def load_held(points: Points, scheduler: str, objective: float) -> float | None:
    """Highest load with mean QoE >= `objective`, linear between the loads measured; None where it is not crossed."""
    curve = sorted((load, point["mean_qoe"]) for (name, load), point in points.items() if name == scheduler)
    for (low, above), (high, below) in pairwise(curve):
        if above >= objective > below:
            return low + (high - low) * (above - objective) / (above - below)
    return None


def headline(points: Points, profile: str) -> dict[str, Any]:
    """What the README may quote: only what was measured."""
    loads = sorted({load for name, load in points if name == "qoe"} & {load for name, load in points if name == "fcfs"})
    figures: dict[str, Any] = {
        "mean_qoe_at_load": {str(load): round(points["qoe", load]["mean_qoe"], 4) for load in loads},
        "fcfs_mean_qoe_at_load": {str(load): round(points["fcfs", load]["mean_qoe"], 4) for load in loads},
    }
    for name in ("mean_qoe", "throughput"):
        if loads:
            ratio = min(points["qoe", load][name] / points["fcfs", load][name] for load in loads)
            figures[f"worst_{name}_ratio"] = round(ratio, 4)
    if loads:
        # A ratio of goodputs says nothing where FCFS's is below zero.
        positive = [load for load in loads if points["fcfs", load]["smooth_goodput"] > 0]
        if positive:
            figures["worst_smooth_goodput_ratio"] = round(
                min(points["qoe", a]["smooth_goodput"] / points["fcfs", a]["smooth_goodput"] for a in positive), 4
            )
    for ours, stock in (("qoe", "fcfs"), ("qoe" + WITH_HOST, "fcfs"), ("qoe" + WITH_HOST, "fcfs" + WITH_HOST)):
        for objective in (0.95, 0.90):
            held, stock_held = load_held(points, ours, objective), load_held(points, stock, objective)
            if held and stock_held:
                which = "" if (ours, stock) == ("qoe", "fcfs") else f"_{ours}_over_{stock}"
                figures[f"load_ratio_at_mean_0{round(objective * 100)}{which}"] = round(held / stock_held, 3)
    with_host = {str(load): round(p["mean_qoe"], 4) for (name, load), p in points.items() if name == "qoe" + WITH_HOST}
    if with_host:
        figures["mean_qoe_at_load_with_host_kv"] = with_host
    return {profile: figures}


def table(points: Points) -> tuple[list[str], list[list[object]]]:
    """Columns and rows of the Markdown table."""
    columns = [
        "load", "scheduler", "mean QoE", "Andes' QoE", "p1", "p5", "good", "tokens/s", "smooth goodput", "TTFT p95 s",
        "longest wait s", "preemptions", "recomputed", "seeds",
    ]  # fmt: skip
    rows: list[list[object]] = [
        [
            load, name,
            f"{p['mean_qoe']:.3f}", f"{p['mean_andes_qoe']:.3f}", f"{p['p1_qoe']:.3f}", f"{p['p5_qoe']:.3f}",
            f"{p['share_good']:.3f}", f"{p['throughput']:.0f}", f"{p['smooth_goodput']:.0f}", f"{p['ttft_p95']:.1f}",
            f"{p['longest_wait']:.0f}", f"{p['preemptions']:.0f}", f"{p['recomputed_tokens']:.0f}", int(p["seeds"]),
        ]
        for (name, load), p in sorted(points.items(), key=lambda item: (item[0][1], item[0][0]))
    ]  # fmt: skip
    return columns, rows


def main() -> int:
    """Runs what is missing, then writes the result files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="opt-66b-4xa100-estimate")
    parser.add_argument("--lengths", default="chat", choices=sorted(LENGTHS))
    parser.add_argument("--pace", type=float, default=4.8, help="tokens/s that the readers read")
    parser.add_argument("--mix", default="one", choices=("one", "mixed"))
    parser.add_argument("--duration", type=float, default=1200.0, help="seconds of arrivals; the rest is drained")
    parser.add_argument("--loads", type=float, nargs="+", default=[1.0, 1.02, 1.05, 1.1, 1.2, 1.3, 1.35, 1.4, 1.5, 1.6])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument(
        "--schedulers",
        nargs="+",
        choices=NAMES,
        default=[name for name in NAMES if name != "priority" + WITH_HOST],
        help=f"fcfs, priority, andes, qoe; with {WITH_HOST} behind it, KV is kept in host memory too",
    )
    parser.add_argument("--kv-offload-gib", type=float, default=HOST_KV_GIB, help=f"host memory of {WITH_HOST}, GiB")
    parser.add_argument("--report-only", action="store_true", help="write the files from the runs that are cached")
    parser.add_argument("--name", default="scheduler", help="name of the result files")
    arguments = parser.parse_args()
    results = gather(specs(arguments), run=not arguments.report_only)
    if not results:
        print("nothing has been run yet: leave --report-only out", file=sys.stderr)
        return 1
    points = average(results)
    names = [name for name in arguments.schedulers if any(key[0] == name for key in points)]
    curves = [
        Curve(name=name, points=tuple(sorted((a, p["mean_qoe"]) for (n, a), p in points.items() if n == name)))
        for name in names
    ]
    title = f"{arguments.profile}, {arguments.lengths}, {arguments.duration / 60:g} minutes"
    (RESULTS / f"{arguments.name}.svg").write_text(qoe_over_load(curves, title=title))
    path = write_result(
        arguments.name,
        headline=headline(points, arguments.profile),
        settings={
            **{k: v for k, v in vars(arguments).items() if k not in ("report_only", "name")},
            "arrivals": "Poisson, open loop, drained to the end; every request counts",
            "expected_ttft_seconds": 1.0,
            "load_1_requests_per_second": round(capacity(arguments.profile, arguments.lengths), 4),
            "load_1": "completions of vLLM's FCFS with an endless queue",
            "length_distribution": str(LENGTHS[arguments.lengths]),
            "prefix_caching": True,
            "clock": "virtual; the scheduler's own time is not counted",
        },
        figures={"points": [{"scheduler": n, "load": a, **p} for (n, a), p in sorted(points.items())], "runs": results},
        table=table(points),
        packages=["vllm", "numpy", "numba"],
    )
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
