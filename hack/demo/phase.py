"""Runs one phase of the demo: waits until a service is Ready, replays the requests, and watches the service."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from rich.console import Console

from andante.cli.bench import BenchOptions, Progress, RequestResult, run_bench
from andante.cli.bench_scores import summarise
from andante.domain.pace import QoEClass
from andante.domain.trace import TraceRequest
from hack.demo.outcome import ClientPoint, Side
from hack.demo.view import LiveView
from hack.demo.watch import Sample, Watcher
from hack.install import Installation

SLICE_SECONDS = 5.0
GIVEN_BACK_SECONDS = 300.0


class NotReadyError(RuntimeError):
    """The service did not become Ready; the message says what it said last."""


class _Slices:
    """Collects the client's results into slices of a few seconds."""

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


def wait_ready(watcher: Watcher, console: Console, *, timeout: float) -> None:
    """Return when the service is Ready. Raises NotReadyError after `timeout` seconds."""
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
                raise NotReadyError(f"not Ready after {timeout:.0f} s: {told}")
            status.update(f"waiting for the service to be Ready, {waited:.0f} s: {told}")
            time.sleep(1)
    console.print(f"Ready after {time.monotonic() - started:.0f} s.")


def play(
    name: str,
    requests: Sequence[TraceRequest],
    *,
    installation: Installation,
    watcher: Watcher,
    console: Console,
    model: str,
    reader: QoEClass,
    seconds: float,
    least: int,
) -> Side:
    """Send `requests` to the service, and return when the replicas are `least` again (at most 5 minutes later).

    `model`: what the service calls its model. `seconds`: length of the replay, for the progress bar.
    """
    slices = _Slices()
    options = BenchOptions(url=installation.url, model=model, qoe_class=reader)
    results, changes = asyncio.run(
        _replay(requests, options, watcher=watcher, slices=slices, console=console, seconds=seconds, least=least)
    )
    return Side(
        name=name,
        results=sorted(results, key=lambda result: result.number),
        scores=summarise(results, interval=max(r.arrival + r.duration for r in results)),
        points=slices.points,
        samples=watcher.samples,
        changes=changes,
        pods=watcher.pods.lives,
    )


async def _replay(
    requests: Sequence[TraceRequest],
    options: BenchOptions,
    *,
    watcher: Watcher,
    slices: _Slices,
    console: Console,
    seconds: float,
    least: int,
) -> tuple[list[RequestResult], list[Sample]]:
    origin = time.monotonic()
    with LiveView(console, total_seconds=seconds) as view:

        def on_tick(progress: Progress) -> None:
            point = slices.add(progress)
            if point:
                view.client(point)

        watching = asyncio.create_task(watcher.run(origin=origin, on_sample=view.operator))
        try:
            results = await run_bench(requests, options, on_tick=on_tick)
            console.print("The replay is over; waiting for the surge's replicas to be given back (at most 5 min).")
            async with asyncio.timeout(GIVEN_BACK_SECONDS):
                while watching.done() or not watcher.samples or not _given_back(watcher, least):
                    if watching.done():
                        watching.result()
                    await asyncio.sleep(1)
        except TimeoutError:
            console.print("The replicas did not come back in 5 minutes.", style="bold red")
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        return results, view.changes


def _given_back(watcher: Watcher, least: int) -> bool:
    """Whether as few replicas as before are left, those that drain among them."""
    return watcher.samples[-1].replicas <= least and watcher.pods.present() <= least
