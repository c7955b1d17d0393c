"""Requests that vLLM turns away for want of capacity are rejections: counted, and without QoE."""

from __future__ import annotations

import asyncio

import httpx
from hack.engine_process import EngineProcess

from contract.conftest import CONFIG, counted


async def test_a_full_queue_is_a_rejection(client: httpx.AsyncClient) -> None:
    with EngineProcess({**CONFIG, "extraArgs": ["--max-num-queued-reqs", "2"]}) as engine:
        before = engine.metrics()
        body = {"model": "tiny", "prompt": " river", "max_tokens": 40, "stream": True}
        replies = await asyncio.gather(*(client.post(f"{engine.url}/v1/completions", json=body) for _ in range(6)))
        refused = sum(reply.status_code == 503 or '"code": 503' in reply.text for reply in replies)
        assert refused > 0
        increase = await counted(engine, before, requests=6)
        assert increase["andante_requests_total:rejected"] == refused
        assert increase["andante_requests_total:completed"] == 6 - refused
        assert increase["andante_requests_scored_total"] == 6
        assert increase["andante_ended_qoe_total"] <= 6 - refused
