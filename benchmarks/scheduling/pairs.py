"""Points at which ours runs against stock at its best: what is run, what is written, who is worse in what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from benchmarks.scheduling.checks import worse
from benchmarks.scheduling.runs import RunSpec, cached_result, cached_run, named

STOCK, OURS = "fcfs", "qoe"
_KEPT = (
    "requests", "mean_qoe", "p1_qoe", "p5_qoe", "share_good", "share_left", "smooth_goodput", "throughput",
    "throughput_to_95", "ttft_p95", "longest_wait", "preemptions",
)  # fmt: skip
_VARIED = (
    "profile", "lengths", "trace", "common_prefix", "sessions", "pace", "load", "patience", "seed", "duration",
    "engine", "options",
)  # fmt: skip
COLUMNS = (
    "profile", "requests", "pace", "patience s", "load", "mean QoE", "FCFS", "left", "FCFS", "smooth goodput", "FCFS",
    "tokens/s", "FCFS", "p5", "FCFS", "longest wait s", "FCFS", "worse than FCFS in",
)  # fmt: skip


def requests_of(spec: Mapping[str, Any]) -> str:
    """What the requests of a spec are, in words."""
    if spec["trace"]:
        return str(spec["trace"])
    prefix = f" behind {spec['common_prefix']} shared" if spec["common_prefix"] else ""
    return f"{spec['lengths']}{', sessions' if spec['sessions'] else ''}{prefix}"


def compare(spec: RunSpec, *, run: bool = True) -> dict[str, Any] | None:
    """Both runs of `spec`, with what is worse; None where one has not been run and `run` is false."""
    found: dict[str, Any] = {}
    for name in (STOCK, OURS):
        wanted = named(name, spec)
        if name == STOCK:
            wanted = replace(wanted, options={})
        result = cached_run(wanted) if run else cached_result(wanted)
        if result is None:
            return None
        found[name] = {key: result["scores"][key] for key in _KEPT}
    asked = asdict(spec)
    return {
        "point": {key: asked[key] for key in _VARIED},
        **found,
        "violations": worse(found[OURS], found[STOCK]),
    }


def row_of(pair: Mapping[str, Any]) -> list[object]:
    """A row of the table with `COLUMNS`."""
    point, ours, stock = pair["point"], pair[OURS], pair[STOCK]
    both = (ours, stock)
    return [
        point["profile"], requests_of(point), f"{point['pace']:g}",
        "endless" if point["patience"] is None else f"{point['patience']:g}", f"{point['load']:g}",
        *(f"{s['mean_qoe']:.4f}" for s in both), *(f"{s['share_left']:.2%}" for s in both),
        *(f"{s['smooth_goodput']:.0f}" for s in both), *(f"{s['throughput']:.0f}" for s in both),
        *(f"{s['p5_qoe']:.3f}" for s in both), *(f"{s['longest_wait']:.1f}" for s in both),
        "; ".join(pair["violations"]) or "nothing",
    ]  # fmt: skip


def run_all(
    specs: Sequence[RunSpec], write: Callable[[Sequence[Mapping[str, Any]]], object], *, run: bool, every: int = 1
) -> list[dict[str, Any]]:
    """Compares at each of `specs`; calls `write` with all pairs so far after each `every` of them and at the end."""
    pairs: list[dict[str, Any]] = []
    for number, spec in enumerate(specs, 1):
        pair = compare(spec, run=run)
        if pair is not None:
            pairs.append(pair)
            print(f"[{number}/{len(specs)}]", *row_of(pair), flush=True)
        if pairs and (number % every == 0 or number == len(specs)):
            write(pairs)
    return pairs
