"""Compares two virtual-GPU engines under the same burst: vLLM's own scheduling and Andante's (`make demo-engine`).

It needs no cluster. Both are whole servers on this machine. They have half the speed and a quarter of the KV memory of
the paper's profile, so that two small cores can run them. Both get the same requests at the same time. A table shows
the readers' QoE, and REPORT has the results. Exit status: 0 when Andante's readers had the better mean QoE, else 1.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.scheduling.plot import Curve, qoe_over_load
from benchmarks.scheduling.whole_server import engine_config, through_the_server, workload
from rich.console import Console
from rich.live import Live
from rich.table import Table

from andante.cli.bench import Progress, RequestResult
from andante.cli.bench_scores import summarise
from hack.engine_process import EngineProcess

POLICIES = {"fcfs": "vLLM's own (FCFS)", "qoe": "Andante (qoe)"}
SLICE_SECONDS = 10.0


class _Side:
    """The results of the readers of one engine so far."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.at = 0.0
        self.open = 0
        self.ended: list[RequestResult] = []

    def tick(self, progress: Progress) -> None:
        self.at, self.open = progress.at, progress.open_requests
        self.ended += progress.ended

    def cells(self) -> list[str]:
        recent = [r for r in self.ended if r.arrival + r.duration > self.at - SLICE_SECONDS]
        return [
            self.name, str(self.open), str(len(self.ended)), _mean(recent), _mean(self.ended),
            f"{sum(len(r.delivery) for r in recent) / SLICE_SECONDS:.0f}",
        ]  # fmt: skip


def _mean(results: Sequence[RequestResult]) -> str:
    known = [r.score.qoe for r in results if r.score.qoe is not None]
    return f"{np.mean(known):.3f}" if known else "none ended"


def _table(sides: Sequence[_Side], *, surge: tuple[float, float, float]) -> Table:
    at = max(side.at for side in sides)
    start, length, factor = surge
    phase = f"{factor:g} times the load" if start <= at < start + length else "base load"
    table = Table(title=f"{at:.0f} s, arrivals: {phase}")
    for column in ("scheduling", "open", "ended", "QoE, last 10 s", "mean QoE", "tokens/s of the ended"):
        table.add_column(column, justify="left" if column == "scheduling" else "right")
    for side in sides:
        table.add_row(*side.cells())
    return table


async def _serve(work: Any, engines: Mapping[str, EngineProcess], surge: tuple[float, float, float]) -> dict[str, Any]:
    sides = {policy: _Side(name) for policy, name in POLICIES.items()}
    console = Console()
    with Live(console=console, refresh_per_second=2) if console.is_terminal else ExitStack() as live:
        next_line = 0.0

        def tick(policy: str, progress: Progress) -> None:
            nonlocal next_line
            sides[policy].tick(progress)
            if isinstance(live, Live):
                live.update(_table(list(sides.values()), surge=surge))
            elif progress.at >= next_line:
                next_line = progress.at + SLICE_SECONDS
                state = "; ".join(f"{s.name}: {s.open} open, mean QoE {_mean(s.ended)}" for s in sides.values())
                console.print(f"[{progress.at:4.0f} s] {state}", highlight=False, markup=False, soft_wrap=True)

        results = await asyncio.gather(
            *(
                through_the_server(work, engine, on_tick=functools.partial(tick, policy))
                for policy, engine in engines.items()
            )
        )
    return dict(zip(engines, results, strict=True))


def _curve(name: str, results: Sequence[RequestResult]) -> Curve:
    slices: dict[int, list[float]] = {}
    for result in results:
        if result.score.qoe is not None:
            slices.setdefault(int(result.arrival // SLICE_SECONDS), []).append(result.score.qoe)
    return Curve(
        name=name, points=tuple((SLICE_SECONDS * (i + 0.5), float(np.mean(v))) for i, v in sorted(slices.items()))
    )


def write_report(path: Path, *, scores: Mapping[str, Mapping[str, Any]], curves: Sequence[Curve], title: str) -> None:
    """The report as one HTML file, which needs no network."""
    rows: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "mean QoE": lambda s: f"{s['qoe']['mean']:.3f}",
        "QoE, worst 5 %": lambda s: f"{s['qoe']['p5']:.3f}",
        "share of good requests": lambda s: f"{s['share_good']:.3f}",
        "TTFT p95 (s)": lambda s: f"{s['ttft_s']['p95']:.1f}",
        "tokens/s": lambda s: f"{s['throughput_tokens_per_s']:.0f}",
        "tokens lost": lambda s: str(s["tokens_lost"]),
    }
    heads = "".join(f"<th>{escape(POLICIES[policy])}</th>" for policy in scores)
    body = "".join(
        f"<tr><th>{escape(name)}</th>" + "".join(f"<td>{show(s)}</td>" for s in scores.values()) + "</tr>"
        for name, show in rows.items()
    )
    plot = qoe_over_load(curves, title=title, what="by arrival", axis="seconds since the start")
    path.write_text(
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{escape(title)}</title>"
        "<style>body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:50rem}"
        "td,th{text-align:left;border-bottom:1px solid #ddd;padding:.2rem 1.5rem .2rem 0}</style>"
        f"<h1>{escape(title)}</h1><table><tr><th></th>{heads}</tr>{body}</table>{plot}</html>",
        encoding="utf-8",
    )


def main() -> int:
    """Starts both engines, sends the burst to both, and reports."""
    parser = argparse.ArgumentParser(prog="make demo-engine", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0, help="seconds of arrivals; the rest is drained")
    parser.add_argument("--base-load", type=float, default=0.9, help="1: what FCFS completes with an endless queue")
    parser.add_argument("--surge-factor", type=float, default=2.5)
    parser.add_argument("--surge-start", type=float, default=20.0)
    parser.add_argument("--surge-seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path, default=Path("report-engine.html"))
    arguments = parser.parse_args()
    surge = (arguments.surge_start, arguments.surge_seconds, arguments.surge_factor)
    work = workload(load=arguments.base_load, duration=arguments.seconds, seed=arguments.seed, surge=surge)
    print(f"demo-engine: {work.requests} requests to each of two engines, which take about half a minute to start")
    with ExitStack() as stack:
        engines = {
            policy: stack.enter_context(EngineProcess(engine_config(policy, asynchronous=True))) for policy in POLICIES
        }
        results = asyncio.run(_serve(work, engines, surge))
    scores = {
        policy: summarise(ended, interval=max(r.arrival + r.lateness + r.duration for r in ended))
        for policy, ended in results.items()
    }
    curves = [_curve(POLICIES[policy], ended) for policy, ended in results.items()]
    title = f"{arguments.surge_seconds:g} s at {arguments.surge_factor:g} times the load, one engine"
    write_report(arguments.report, scores=scores, curves=curves, title=title)
    for policy, score in scores.items():
        print(
            f"{POLICIES[policy]}: mean QoE {score['qoe']['mean']:.3f}, worst 5 % {score['qoe']['p5']:.3f}, "
            f"good {score['share_good']:.3f}, TTFT p95 {score['ttft_s']['p95']:.1f} s, "
            f"{score['throughput_tokens_per_s']:.0f} tokens/s, {score['tokens_lost']} tokens lost"
        )
    print(f"demo-engine: {arguments.report}")
    return 0 if scores["qoe"]["qoe"]["mean"] > scores["fcfs"]["qoe"]["mean"] else 1


if __name__ == "__main__":
    sys.exit(main())
