"""Replays a real trace with a surge against a service on the local cluster, and shows how the service reacts.

Exit status: 0 when replicas rose with the surge and fell after it and no stream was cut; 1 otherwise; 2 bad input.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

from andante.api.v1alpha1 import LLMService
from andante.cli.bench import BenchOptions, Progress, RequestResult, run_bench
from andante.cli.bench_scores import summarise
from andante.cli.traces import read_trace
from andante.domain.pace import PRESETS
from hack.demo.outcome import ClientPoint, Demo
from hack.demo.report import saved_replica_minutes, write_report
from hack.demo.verdict import replica_minutes, verdict
from hack.demo.view import LiveView
from hack.demo.watch import Sample, Watcher, to_sample
from hack.demo.workload import Surge, thin
from hack.install import ROOT, Installation, install
from hack.localcluster import target
from hack.localcluster.errors import ClusterError

SLICE_SECONDS = 5.0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    target.add_arguments(parser)
    parser.add_argument("--namespace", default="demo")
    parser.add_argument("--service", type=Path, default=ROOT / "examples" / "llmservice.yaml")
    parser.add_argument("--trace", type=Path, default=ROOT / "examples" / "traces" / "azure2023_conv_10min.csv.gz")
    parser.add_argument("--speed", type=float, default=1.5, help="compress the trace's time by this factor")
    parser.add_argument("--seconds", type=float, default=400.0, help="length of the replay")
    parser.add_argument("--base-rate", type=float, default=0.8, help="requests/s before and after the surge")
    parser.add_argument("--peak-rate", type=float, default=2.4, help="requests/s in the surge")
    parser.add_argument("--surge-start", type=float, default=60.0, help="second at which the surge begins")
    parser.add_argument("--surge-seconds", type=float, default=150.0, help="how long it lasts")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path, default=ROOT / "report.html")
    parser.add_argument("--json", type=Path, default=None, dest="json_out")
    return parser.parse_args()


class _Slices:
    """Collects the client's results into slices of a few seconds for the plots."""

    def __init__(self) -> None:
        self.points: list[ClientPoint] = []
        self._since = 0.0
        self._arrivals = 0
        self._qoe: list[float] = []

    def add(self, progress: Progress) -> ClientPoint | None:
        self._arrivals += progress.arrivals
        self._qoe += [r.score.qoe for r in progress.ended if r.score.qoe is not None]
        elapsed = progress.at - self._since
        if elapsed < SLICE_SECONDS:
            return None
        point = ClientPoint(
            at=progress.at,
            arrivals_per_second=self._arrivals / elapsed,
            mean_qoe=sum(self._qoe) / len(self._qoe) if self._qoe else None,
            open_requests=progress.open_requests,
        )
        self.points.append(point)
        self._since, self._arrivals, self._qoe = progress.at, 0, []
        return point


async def _replay(
    *, installation: Installation, arguments: argparse.Namespace, surge: Surge, console: Console, model: str, least: int
) -> tuple[list[RequestResult], Watcher, list[Sample], _Slices]:
    requests = thin(
        read_trace(arguments.trace),
        surge=surge,
        speed=arguments.speed,
        seconds=arguments.seconds,
        max_prompt_tokens=2000,
        max_output_tokens=400,
        seed=arguments.seed,
    )
    console.print(
        f"Replaying {len(requests)} requests over {arguments.seconds:.0f} s: {surge.base_rate}/s, "
        f"and {surge.peak_rate}/s from second {surge.start:.0f} to {surge.start + surge.duration:.0f}."
    )
    watcher = Watcher(name=installation.service, namespace=arguments.namespace)
    slices = _Slices()
    options = BenchOptions(url=installation.url, model=model, qoe_class=PRESETS["reading"])
    origin = time.monotonic()
    with LiveView(console, total_seconds=arguments.seconds) as view:

        def on_tick(progress: Progress) -> None:
            point = slices.add(progress)
            if point:
                view.client(point)

        watching = asyncio.create_task(watcher.run(origin=origin, on_sample=view.operator))
        try:
            results = await run_bench(requests, options, on_tick=on_tick)
            console.print("The replay is over; waiting for the surge's replicas to be given back (at most 5 min).")
            async with asyncio.timeout(300):
                while watching.done() or not watcher.samples or watcher.samples[-1].replicas > least:
                    if watching.done():
                        watching.result()
                    await asyncio.sleep(1)
        except TimeoutError:
            console.print("The replicas did not come back in 5 minutes.", style="bold red")
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        changes = view.changes
    return results, watcher, changes, slices


def _wait_ready(watcher: Watcher, console: Console, *, timeout: float) -> None:
    started = time.monotonic()
    with console.status("waiting for the service to be Ready: its engine pod starts vLLM") as status:
        while True:
            resource = watcher.read()
            conditions = {c["type"]: c for c in resource.get("status", {}).get("conditions", [])}
            ready = conditions.get("Ready", {})
            if ready.get("status") == "True":
                break
            waited = time.monotonic() - started
            told = f"{ready.get('reason', 'no status yet')}: {ready.get('message', '')}"
            if waited > timeout:
                raise SystemExit(f"demo: not Ready after {timeout:.0f} s: {told}")
            status.update(f"waiting for the service to be Ready, {waited:.0f} s: {told}")
            time.sleep(1)
    console.print(f"Ready after {time.monotonic() - started:.0f} s.")


def _table(scores: dict[str, object], samples: Sequence[Sample]) -> list[tuple[str, str]]:
    def figure(*keys: str, digits: int = 3) -> str:
        value: object = scores
        for key in keys:
            value = value[key] if isinstance(value, dict) else None
        return "unknown" if not isinstance(value, int | float) else f"{value:.{digits}f}"

    return [
        ("requests", figure("requests", digits=0)),
        ("QoE, mean", figure("qoe", "mean")),
        ("QoE, p5", figure("qoe", "p5")),
        ("share good", figure("share_good")),
        ("smooth goodput (tokens/s; f(l)=l, alpha=pace)", figure("smooth_goodput_tokens_per_s", "alpha=1*pace")),
        ("throughput (tokens/s)", figure("throughput_tokens_per_s", digits=1)),
        ("TTFT p50 / p95 (s)", f"{figure('ttft_s', 'p50', digits=2)} / {figure('ttft_s', 'p95', digits=2)}"),
        ("replica-minutes", f"{replica_minutes(samples):.1f}"),
        ("most replicas ready", str(max((s.ready for s in samples), default=0))),
        ("streams cut", figure("streams_cut", digits=0)),
        ("generator lateness p95 (s)", figure("generator_lateness_s", "p95")),
    ]


def _headlines(rows: Sequence[tuple[str, str]], samples: Sequence[Sample]) -> list[tuple[str, str, str]]:
    known = dict(rows)
    used, always = saved_replica_minutes(samples)
    most = known["most replicas ready"]
    less = f", {1 - used / always:.0%} less than the {always:.1f} of a fixed {most}" if always else ""
    return [
        ("mean QoE", known["QoE, mean"], "1: every token when its reader wanted it"),
        ("good answers", f"{float(known['share good']):.0%}" if known["share good"] != "unknown" else "unknown",
         "start in time, and hardly stall"),
        ("most replicas", most, "ready at the same time"),
        ("replica-minutes", known["replica-minutes"], f"paid for{less}"),
        ("streams cut", known["streams cut"], f"of {known['requests']} requests"),
    ]  # fmt: skip


def main() -> int:
    arguments = _arguments()
    console = Console()
    started = time.monotonic()
    try:
        installation = install(
            target.from_options(arguments),
            namespace=arguments.namespace,
            service_file=arguments.service,
            say=console.print,
        )
    except (RuntimeError, ClusterError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    with contextlib.closing(installation):
        return _show(installation, arguments=arguments, console=console, started=started)


def _show(installation: Installation, *, arguments: argparse.Namespace, console: Console, started: float) -> int:
    service = yaml.safe_load(arguments.service.read_text(encoding="utf-8"))
    watcher = Watcher(name=installation.service, namespace=arguments.namespace)
    _wait_ready(watcher, console, timeout=900)
    console.print(f"From the start to Ready: {time.monotonic() - started:.0f} s. Endpoint: {installation.url}")
    least = to_sample(watcher.read(), at=0.0).replicas
    surge = Surge(
        base_rate=arguments.base_rate,
        peak_rate=arguments.peak_rate,
        start=arguments.surge_start,
        duration=arguments.surge_seconds,
    )
    results, watched, changes, slices = asyncio.run(
        _replay(
            installation=installation,
            arguments=arguments,
            surge=surge,
            console=console,
            model=service["spec"]["model"].get("servedName") or service["metadata"]["name"],
            least=least,
        )
    )
    scores = summarise(results, interval=max(r.arrival + r.duration for r in results))
    rows = _table(scores, watched.samples)
    table = Table("figure", "value", title="What the readers got, and what it took")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    complaints = verdict(scores=scores, samples=watched.samples, least=least)
    demo = Demo(
        headlines=_headlines(rows, watched.samples),
        table=rows,
        complaints=complaints,
        surge=surge,
        target_qoe=LLMService.parse(service).spec.qoe.objective.qoe,
        points=slices.points,
        samples=watched.samples,
        changes=changes,
    )
    write_report(arguments.report, demo)
    console.print(f"Report: {arguments.report}")
    if arguments.json_out:
        document = {"scores": scores, "replica_minutes": replica_minutes(watched.samples), "table": dict(rows)}
        arguments.json_out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    for complaint in complaints:
        console.print(complaint, style="bold red")
    console.print(
        f"Look around:  export KUBECONFIG={installation.kubeconfig}; kubectl -n {arguments.namespace} get lls -o yaml"
    )
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
