"""Quality of experience over load: vLLM's own schedulers by default and at their best, Andes, simple orders, and ours.

In virtual time, on a step-time profile, with readers who wait for ever or (`--patience`) leave. Load 1.0 is what vLLM's
FCFS completes of an endless queue with its best flags. Every run is cached under $ANDANTE_CACHE, so a bench that is
stopped goes on where it was; a change of the harness or of the scheduler's code makes its runs stale. Writes
benchmarks/results/NAME.json, .md and .svg from whatever has been run. `make bench-scheduler`, `make bench-patience`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from benchmarks.results_file import RESULTS, write_result
from benchmarks.scheduling.averages import COLUMNS, Points, average, gather, load_held, rows_of
from benchmarks.scheduling.checks import dominating, worse
from benchmarks.scheduling.plot import Curve, qoe_over_load
from benchmarks.scheduling.provenance import provenance
from benchmarks.scheduling.runs import ENGINES, HOST_KV_GIB, MIXES, NAMES, WITH_HOST, RunSpec, capacity, name_of, named
from benchmarks.scheduling.stock import BEST
from benchmarks.scheduling.workload import LENGTHS

OURS = ("qoe", "qoe" + WITH_HOST)
OBJECTIVES = (0.98, 0.95, 0.90)


def specs(arguments: argparse.Namespace) -> list[RunSpec]:
    """All runs asked for, the first seed of everything before the second."""
    return [
        named(
            name,
            RunSpec(
                scheduler="", profile=arguments.profile, lengths=arguments.lengths, load=load, seed=seed,
                duration=arguments.duration, pace=arguments.pace, mix=arguments.mix, patience=arguments.patience,
                engine=arguments.engine,
            ),
            host_kv_gib=arguments.kv_offload_gib,
        )
        for seed, load, name in product(arguments.seeds, arguments.loads, arguments.schedulers)
    ]  # fmt: skip


def violations(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Where ours is worse than stock at its best, and where a rival dominates it; each pair on the seeds of both."""
    runs: dict[tuple[str, float], dict[int, Mapping[str, Any]]] = {}
    for result in results:
        key = name_of(result["spec"]), result["spec"]["load"]
        runs.setdefault(key, {})[result["spec"]["seed"]] = result
    found: list[dict[str, Any]] = []
    for (ours, load), (other, at) in product(sorted(runs), sorted(runs)):
        seeds = runs[ours, load].keys() & runs[other, at].keys()
        if ours not in OURS or other in OURS or load != at or not seeds:
            continue
        pair = average([runs[name, load][seed] for name in (ours, other) for seed in sorted(seeds)])
        bad = {"scheduler": ours, "than": other, "load": load}
        if other == "fcfs" + (WITH_HOST if ours.endswith(WITH_HOST) else ""):
            found += [
                {"what": "worse than stock", **bad, "figures": figures}
                for figures in worse(pair[ours, load], pair[other, load])
            ]
        found += [{"what": "dominated", **bad, "figures": figures} for _, _, figures in dominating(pair, ours)]
    return found


def headline(points: Points) -> dict[str, Any]:
    """What the README may quote: only what was measured."""
    names = sorted({name for name, _ in points})
    figures: dict[str, Any] = {
        f"{figure}_{name}": {f"{load:g}": round(p[figure], 4) for (n, load), p in sorted(points.items()) if n == name}
        for figure in ("mean_qoe", "share_left")
        for name in names
    }
    for objective in OBJECTIVES:
        held = {name: load_held(points, name, objective) for name in names}
        figures[f"load_held_at_mean_0{round(objective * 100)}"] = {n: round(a, 3) for n, a in held.items() if a}
    return figures


def main() -> int:
    """Runs what is missing, then writes the result files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="opt-66b-4xa100-estimate")
    parser.add_argument("--lengths", default="chat", choices=sorted(LENGTHS))
    parser.add_argument("--pace", type=float, default=4.8, help="tokens/s that the readers read")
    parser.add_argument("--mix", default="one", choices=("one", *MIXES))
    parser.add_argument("--duration", type=float, default=1200.0, help="seconds of arrivals; the rest is drained")
    parser.add_argument("--loads", type=float, nargs="+", default=[0.9, 0.95, 1.0, 1.05, 1.1, 1.2, 1.3, 1.4, 1.5])
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13])
    parser.add_argument(
        "--patience", type=float, help="mean patience in s (exponential); without it they wait for ever"
    )
    parser.add_argument(
        "--schedulers", nargs="+", choices=NAMES, default=[name for name in NAMES if "andes" not in name],
        help=f"with {WITH_HOST} behind it, KV is kept in host memory too; fcfs-default: vLLM's default flags",
    )  # fmt: skip
    parser.add_argument("--kv-offload-gib", type=float, default=HOST_KV_GIB, help=f"host memory of {WITH_HOST}, GiB")
    parser.add_argument("--engine", default="vllm", choices=ENGINES, help="vLLM's own classes, or their compiled model")
    parser.add_argument("--report-only", action="store_true", help="write the files from the runs that are cached")
    parser.add_argument("--quick", action="store_true", help="one seed, two loads, a minute; writes no file")
    parser.add_argument("--name", default="scheduler", help="name of the result files")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.seeds, arguments.loads, arguments.duration = arguments.seeds[:1], [1.0, 1.2], 60.0
    results = gather(specs(arguments), run=not arguments.report_only)
    if not results:
        print("nothing has been run yet: leave --report-only out", file=sys.stderr)
        return 1
    points = average(results)
    found = violations(results)
    for violation in found:
        print(*violation.values(), flush=True)
    if not arguments.quick:
        _write(arguments, results, points, found)
    return 0


def _write(
    arguments: argparse.Namespace, results: Sequence[dict[str, Any]], points: Points, found: Sequence[dict[str, Any]]
) -> None:
    names = [name for name in arguments.schedulers if any(key[0] == name for key in points)]
    curves = [
        Curve(name=name, points=tuple(sorted((a, p["mean_qoe"]) for (n, a), p in points.items() if n == name)))
        for name in names
    ]
    title = f"{arguments.profile}, {arguments.lengths}, {arguments.duration / 60:g} minutes"
    (RESULTS / f"{arguments.name}.svg").write_text(qoe_over_load(curves, title=title))
    path = write_result(
        arguments.name,
        headline=headline(points),
        settings={
            **{k: v for k, v in vars(arguments).items() if k not in ("report_only", "name", "quick")},
            **provenance(
                "bench-scheduler", seeds=arguments.seeds, profiles=[arguments.profile], lengths=[arguments.lengths]
            ),
            "arrivals": "Poisson, open loop, drained to the end; every request counts",
            "expected_ttft_seconds": 1.0,
            "load_1_requests_per_second": round(capacity(arguments.profile, arguments.lengths), 4),
            "load_1": f"completions of vLLM's FCFS with an endless queue, with {BEST}",
            "length_distribution": str(LENGTHS[arguments.lengths]),
            "prefix_caching": True,
            "clock": "virtual; the scheduler's own time is not counted",
        },
        figures={
            "violations": list(found),
            "points": [{"scheduler": n, "load": a, **p} for (n, a), p in sorted(points.items())],
            "runs": [{**r, "spec": {k: v for k, v in r["spec"].items() if k in _SPEC}} for r in results],
        },
        table=(COLUMNS, rows_of(points)),
        packages=["vllm", "numpy", "numba"],
    )
    print(path)


_SPEC = ("scheduler", "load", "seed", "kv_offload_gib", "stock", "engine", "patience")
"""What differs between the runs of a file."""


if __name__ == "__main__":
    sys.exit(main())
