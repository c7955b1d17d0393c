"""The engine pods of the benchmark: one process that answers GET /metrics on a loopback address for each of them.

Each page is what an engine of ours with two QoE classes shows, made by the engine's own metric objects, and vLLM's
families beside them up to the size of a real page (98,518 bytes, vLLM 0.32 with four classes). As our engine does, it
shows the wanted series alone to who names them. Figures move with time while the pods are busy. Of hostile pods, each
does one of the things that a tenant's pod may do to whoever reads it.

For Prometheus, the wanted series of a namespace's pods stand on one page, with the labels that a scrape would add: a
Prometheus that reads ten thousand pages of 100 KB would measure itself.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import prometheus_client
from prometheus_client.metrics import MetricWrapperBase

from andante.adapters.exposition import WANTED
from andante.domain.request_meter import Objective
from andante.engine_config import ENGINE_PORT
from andante_vllm.engine_demand import EngineLimits, Waiting
from andante_vllm.meter_metrics import MeterMetrics, OpenRequests
from andante_vllm.scheduler_metrics import SchedulerMetrics

CLASSES = ("reading", "batch")
PAGE_BYTES = 98_518
HOSTILE = ("hang", "drip", "gzip bomb", "endless", "lie", "refuse", "garbage", "100 Continue", "error")
"""What hostile pods do, in turn."""
_CONTROL_SECONDS = 0.5


def address(number: int) -> str:
    """The loopback address of a pod."""
    return f"127.90.{number // 250}.{number % 250 + 1}"


class _Shown:
    """What an engine's registry would collect."""

    def __init__(self) -> None:
        meter = MeterMetrics(model_name="model", objective=Objective())
        for name in CLASSES:
            meter.show_class(name)
        none = OpenRequests(requests=0, qoe_sum=0.0, deficit=_NoDeficit(), bad=0)  # type: ignore[arg-type]
        meter.set_open(dict.fromkeys(CLASSES, none))
        meter.set_step_time_fitted(True)
        meter.set_demand(Waiting(requests=0, prompt_tokens=0), EngineLimits(400_000, 256, 8192))
        meter.set_settings_valid(True)
        scheduler = SchedulerMetrics(model_name="model", policy="qoe")
        scheduler.set_active(True, "policy")
        self._meter, self._scheduler = meter, scheduler

    def collect(self) -> Iterator[Any]:
        for value in vars(self._meter).values():
            if isinstance(value, MetricWrapperBase):
                yield from value.collect()
        yield from self._scheduler.registry.collect()


class _NoDeficit:
    def of(self, _: Any) -> float:
        return 0.0


class Page:
    """The text of an engine's /metrics: the lines that the operator wants, to be filled in, and all the others."""

    def __init__(self) -> None:
        text = prometheus_client.generate_latest(_Shown())  # type: ignore[arg-type]
        self.wanted: list[tuple[str, Callable[[float, float], float]]] = []
        others: list[str] = []
        for line in text.decode().splitlines():
            series = line.rsplit(" ", 1)[0]
            name = series.split("{", 1)[0]
            if name in WANTED:
                self.wanted.append((series, _figure(name, series)))
            else:
                others.append(line)
        known = sum(len(series) + 8 for series, _ in self.wanted) + sum(len(line) + 1 for line in others)
        number = 0
        while known < PAGE_BYTES:
            line = (
                f'vllm:request_{number // 40}_seconds_bucket{{engine="0",le="{number % 40}.0",model_name="model"}} 7.0'
            )
            others.append(line)
            known += len(line) + 1
            number += 1
        self.others = ("\n".join(others) + "\n").encode()

    def head(self, ended: float, opened: float) -> bytes:
        """The wanted lines, where `ended` requests have ended in each class and `opened` are open."""
        return "".join(f"{series} {figure(ended, opened)}\n" for series, figure in self.wanted).encode()


def _figure(name: str, series: str) -> Callable[[float, float], float]:
    """What a series shows, of the requests that ended and those that are open."""
    if 'qoe_class="batch"' in series:
        return lambda ended, opened: 0.0
    if name == "andante_requests_total":
        return (lambda ended, opened: ended) if 'outcome="completed"' in series else (lambda ended, opened: 0.0)
    if name in ("andante_requests_good_total", "andante_requests_scored_total"):
        return lambda ended, opened: ended
    if name == "andante_ended_qoe_total":
        return lambda ended, opened: 0.99 * ended
    if name == "andante_tokens_total":
        return lambda ended, opened: 200.0 * ended
    if name == "andante_open_requests":
        return lambda ended, opened: opened
    if name == "andante_open_qoe":
        return lambda ended, opened: 0.99 * opened
    if name == "andante_arrived_requests_total":
        return lambda ended, opened: ended + opened
    if name == "andante_arrived_prompt_tokens_total":
        return lambda ended, opened: 300.0 * (ended + opened)
    if name.startswith("andante_scheduler_step_time_"):
        return lambda ended, opened: 1e-5
    if name in (
        "andante_idle_step_time_fitted",
        "andante_scheduler_active",
        "andante_scheduler_tokens_per_step",
        "andante_engine_info",
    ):
        return lambda ended, opened: 1.0
    return lambda ended, opened: 0.0


class Engines:
    """All pods; `control` says whether they are busy, and what share of them is hostile."""

    def __init__(self, pods: list[tuple[str, str]], control: Path) -> None:
        self.pods, self.page = pods, Page()
        self._control = control
        self._busy, self._busy_seconds, self._since = False, 0.0, time.monotonic()
        self.hostile_of_hundred = 0

    async def follow_control(self) -> None:
        while True:
            said = json.loads(self._control.read_text())
            now = time.monotonic()
            if self._busy:
                self._busy_seconds += now - self._since
            self._since, self._busy = now, said["busy"]
            self.hostile_of_hundred = said["hostile_percent"]
            await asyncio.sleep(_CONTROL_SECONDS)

    def figures(self, number: int) -> tuple[float, float]:
        """Requests that ended, and those that are open."""
        if not self._busy:
            return float(int(self._busy_seconds)), 0.0
        ended = int(self._busy_seconds * (1 + number % 7) / 7)
        return float(ended), float(4 + (number + ended) % 5)

    def does(self, number: int) -> str:
        """What a hostile pod does; empty for the others."""
        if number * 7 % 100 >= self.hostile_of_hundred:
            return ""
        return HOSTILE[number // 3 % len(HOSTILE)]

    def federated(self, namespace: str) -> bytes:
        """The wanted series of a namespace's pods, as Prometheus would have them after a scrape of each."""
        families: dict[str, list[str]] = defaultdict(list)
        for number, (its, pod) in enumerate(self.pods):
            if its == namespace:
                ended, opened = self.figures(number)
                for series, figure in self.page.wanted:
                    text = f'{series[:-1]},namespace="{its}",pod="{pod}"}} {figure(ended, opened)}\n'
                    families[series.split("{", 1)[0]].append(text)
        return "".join("".join(lines) for lines in families.values()).encode()


class _Pod(asyncio.Protocol):
    """One connection to one pod."""

    def __init__(self, engines: Engines, number: int) -> None:
        self._engines, self._number = engines, number
        self._transport: asyncio.Transport
        self._work: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        does = self._engines.does(self._number)
        if not does:
            others = b"" if b"?name" in data else self._engines.page.others
            self._answer(self._engines.page.head(*self._engines.figures(self._number)), others)
        else:
            self._work = asyncio.ensure_future(self._misbehave(does))

    def connection_lost(self, _: Exception | None) -> None:
        if self._work is not None:
            self._work.cancel()

    def _answer(self, *parts: bytes) -> None:
        length = sum(map(len, parts))
        kind = "text/plain; version=0.0.4; charset=utf-8"
        head = f"HTTP/1.1 200 OK\r\nServer: uvicorn\r\nContent-Length: {length}\r\nContent-Type: {kind}\r\n\r\n"
        self._transport.writelines([head.encode(), *parts])
        self._transport.close()

    async def _misbehave(self, does: str) -> None:
        write = self._transport.write
        if does == "drip":
            write(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                write(b"#")
                await asyncio.sleep(0.5)
        elif does == "gzip bomb":
            body = _BOMB
            write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        elif does == "endless":
            write(b"HTTP/1.1 200 OK\r\n\r\n")
            while self._transport.get_write_buffer_size() < 8 << 20:
                write(b'andante_open_requests{qoe_class="x"} 1\n' * 1_000)
                await asyncio.sleep(0.001)
        elif does == "lie":
            self._answer(self._engines.page.head(1e308, -1e308), self._engines.page.others)
        elif does == "refuse":
            self._transport.abort()
        elif does == "garbage":
            write(bytes(range(256)) * 100)
            self._transport.close()
        elif does == "100 Continue":
            while True:
                write(b"HTTP/1.1 100 Continue\r\n\r\n")
                await asyncio.sleep(0.01)
        elif does == "error":
            write(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")
        # "hang": nothing


_BOMB = gzip.compress(bytes(10_000_000))


class _Federation(asyncio.Protocol):
    """GET /federate/NAMESPACE, for Prometheus."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        body = self._engines.federated(data.split(b" ", 2)[1].decode().rsplit("/", 1)[-1])
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: %d\r\n\r\n" % len(body)
        self._transport.writelines([head, body])
        self._transport.close()


async def serve(pods: Path, control: Path, federation_port: int) -> None:
    """Serve for ever. `pods`: JSON list of (namespace, name), each at the address of its place."""
    engines = Engines([(namespace, name) for namespace, name in json.loads(pods.read_text())], control)
    loop = asyncio.get_running_loop()
    for number in range(len(engines.pods)):
        await loop.create_server(lambda number=number: _Pod(engines, number), address(number), ENGINE_PORT)  # type: ignore[misc]
    await loop.create_server(lambda: _Federation(engines), "127.0.0.1", federation_port)
    print("serving", flush=True)
    await engines.follow_control()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pods", type=Path, required=True)
    parser.add_argument("--control", type=Path, required=True)
    parser.add_argument("--federation-port", type=int, required=True)
    given = parser.parse_args()
    asyncio.run(serve(given.pods, given.control, given.federation_port))
