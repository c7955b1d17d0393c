"""SIGTERM with streams in flight: those that can finish do, the others are cut, told so and counted as drained."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from hack.engine_process import EngineProcess

from contract.conftest import CONFIG, total


async def _read(client: httpx.AsyncClient, engine: EngineProcess, begun: asyncio.Event, **body: Any) -> str | None:
    """Streams to the end; the finish reason, or the error's type."""
    reason = None
    request = {"model": "tiny", "prompt": " river", "stream": True, **body}
    async with client.stream("POST", f"{engine.url}/v1/completions", json=request) as reply:
        async for line in reply.aiter_lines():
            begun.set()
            if line.startswith("data: {"):
                document = json.loads(line[6:])
                if "error" in document:
                    return str(document["error"]["type"])
                for choice in document.get("choices", ()):
                    reason = choice.get("finish_reason") or reason
    return reason


async def test_streams_finish_or_are_counted_as_drained(client: httpx.AsyncClient) -> None:
    with EngineProcess({**CONFIG, "shutdownTimeoutSeconds": 10}) as engine:
        begun = [asyncio.Event() for _ in range(4)]
        # 41 ms a token: 40 tokens take two seconds where the machine is free, 4000 take 160 anywhere.
        short = [asyncio.create_task(_read(client, engine, begun[i], max_tokens=40)) for i in (0, 1)]
        long = [asyncio.create_task(_read(client, engine, begun[i], max_tokens=4000)) for i in (2, 3)]
        await asyncio.gather(*(event.wait() for event in begun))
        engine.terminate()
        assert await asyncio.gather(*short) == ["length", "length"]
        assert await asyncio.gather(*long) == ["Service Unavailable"] * 2
        late = await asyncio.to_thread(engine.wait)
        assert late == 0
        samples = engine.metrics_left_behind()
        assert total(samples, "andante_requests_total", outcome="completed") == 2
        assert total(samples, "andante_requests_total", outcome="drained") == 2
        assert total(samples, "andante_requests_total") == 4
        # A cut answer has no QoE, whatever had come of it.
        assert total(samples, "andante_ended_qoe_total") == 2
        assert total(samples, "andante_tokens_total", kind="visible") > 80


async def test_an_answer_is_whole_however_late_the_server_gets_round_to_its_last_tokens(
    client: httpx.AsyncClient,
) -> None:
    """The engine core has ended, or could have, before the API server passes on what it said; as on a busy machine."""
    with EngineProcess({**CONFIG, "shutdownTimeoutSeconds": 30}) as engine:
        begun = asyncio.Event()
        answer = asyncio.create_task(_read(client, engine, begun, max_tokens=60))  # 2.5 s
        await begun.wait()
        core = engine.core_pid
        engine.terminate()
        await _becomes(lambda: "API server: stopping engine client" in engine.log, seconds=20)
        # Both without effect where the core is told last.
        await _becomes(lambda: "EngineCore: start mode=drain" in engine.log, seconds=0.5)
        os.kill(engine.pid, signal.SIGSTOP)
        await _becomes(lambda: _state(core) == "Z", seconds=6)
        os.kill(engine.pid, signal.SIGCONT)
        assert await answer == "length"
        assert await asyncio.to_thread(engine.wait) == 0
        samples = engine.metrics_left_behind()
        assert total(samples, "andante_requests_total", outcome="completed") == 1
        assert total(samples, "andante_tokens_total", kind="visible") == 60


async def test_clients_that_keep_connections_leave_without_an_error(client: httpx.AsyncClient) -> None:
    """Announced as preStop does it, then told to stop: every request is answered as long as the server is there."""
    with EngineProcess({**CONFIG, "shutdownTimeoutSeconds": 60}) as engine:
        request = {"model": "tiny", "prompt": " river", "max_tokens": 2}
        completions = f"{engine.url}/v1/completions"
        kept = await client.post(completions, json=request)
        assert (kept.status_code, kept.headers.get("connection")) == (200, None)
        begun = asyncio.Event()
        answer = asyncio.create_task(_read(client, engine, begun, max_tokens=200))  # 8 s
        await begun.wait()
        await asyncio.to_thread(_announce, engine)
        announced = await client.post(completions, json=request)
        assert (announced.status_code, announced.headers.get("connection")) == (200, "close")
        engine.terminate()
        await _becomes(lambda: "API server: stopping engine client" in engine.log, seconds=20)
        during = [await client.post(completions, json=request) for _ in range(5)]
        assert [(reply.status_code, reply.headers.get("connection")) for reply in during] == [(200, "close")] * 5
        assert await answer == "length"
        late: list[int] = []
        with contextlib.suppress(httpx.TransportError):  # there is nobody any more who could refuse
            while True:
                late.append((await client.post(completions, json=request)).status_code)
        assert set(late) <= {200}
        assert await asyncio.to_thread(engine.wait) == 0
        assert total(engine.metrics_left_behind(), "andante_requests_total", outcome="rejected") == 0


def _announce(engine: EngineProcess) -> None:
    command = [sys.executable, "-m", "andante_vllm.cli", "drain", "--config", str(engine.config_path), "--wait", "1"]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": ":".join(sys.path)})


async def _becomes(true: Callable[[], bool], *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        await asyncio.sleep(0.02)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"
