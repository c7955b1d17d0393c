"""SIGTERM with streams in flight: those that can finish do, the others are cut, told so and counted as drained."""

from __future__ import annotations

import asyncio
import json
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
    with EngineProcess({**CONFIG, "shutdownTimeoutSeconds": 4}) as engine:
        begun = [asyncio.Event() for _ in range(4)]
        # 41 ms a token: 40 tokens are there in two seconds, 4000 are not in four.
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
        assert total(samples, "andante_request_qoe_sum") == 2
        assert total(samples, "andante_tokens_total", kind="visible") > 80
