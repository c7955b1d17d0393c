"""The operator's own HTTP: what it answers, and that half requests do not pile up."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import aiohttp
import prometheus_client

from andante.adapters.clock import SystemClock
from andante.runtime.health import Health
from andante.runtime.web import MOST_CONNECTIONS, OwnWeb


def _ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as two:
        for taken in (one, two):
            taken.bind(("127.0.0.1", 0))
        return one.getsockname()[1], two.getsockname()[1]


@contextlib.asynccontextmanager
async def _served() -> AsyncIterator[tuple[Health, str, str]]:
    health, registry = Health(SystemClock()), prometheus_client.CollectorRegistry()
    prometheus_client.Gauge("some_gauge", "Some gauge.", registry=registry).set(3)
    web = OwnWeb(health, registry)
    health_port, metrics_port = _ports()
    await web.start(health_port=health_port, metrics_port=metrics_port)
    try:
        yield health, f"http://127.0.0.1:{health_port}", f"http://127.0.0.1:{metrics_port}"
    finally:
        await web.stop()


def test_health_and_metrics_are_told_each_at_its_port() -> None:
    async def run() -> None:
        async with _served() as (health, own, metrics), aiohttp.ClientSession() as session:
            async with session.get(f"{own}/healthz") as answer:
                assert (answer.status, (await answer.json())["alive"]) == (200, True)
            async with session.get(f"{own}/readyz") as answer:
                assert (answer.status, await answer.json()) == (503, {"ready": False, "waitingFor": "its start"})
            health.waiting_for = ""
            async with session.get(f"{own}/readyz") as answer:
                assert answer.status == 200
            async with session.get(f"{metrics}/metrics") as answer:
                assert "some_gauge 3.0" in await answer.text()
            async with session.get(f"{own}/metrics") as answer:
                assert answer.status == 404

    asyncio.run(run())


def test_a_silent_part_is_no_health() -> None:
    async def run() -> None:
        async with _served() as (health, own, _), aiohttp.ClientSession() as session:
            health.expect("tick", within=-1.0)
            async with session.get(f"{own}/healthz") as answer:
                assert (answer.status, await answer.json()) == (503, {"alive": False, "silentForSeconds": {"tick": 0}})

    asyncio.run(run())


def test_half_requests_are_closed_when_they_are_too_many_and_others_are_answered() -> None:
    async def run() -> None:
        async with _served() as (_, _, metrics), aiohttp.ClientSession() as session:
            port = int(metrics.rsplit(":", 1)[1])
            halves = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3 * MOST_CONNECTIONS)]
            for _, writer in halves:
                writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n")
            ended = [asyncio.create_task(reader.read()) for reader, _ in halves]
            while sum(task.done() for task in ended) < 2 * MOST_CONNECTIONS:
                await asyncio.sleep(0.05)
            async with session.get(f"{metrics}/metrics") as answer:
                assert answer.status == 200
            for _, writer in halves:
                writer.close()
            await asyncio.gather(*ended, return_exceptions=True)

    asyncio.run(run())
