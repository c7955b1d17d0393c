"""qoe.yaml changes while the engine runs: a good change is taken over, a bad one is kept out and seen."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import yaml
from hack.engine_process import EngineProcess

from contract.conftest import CONFIG, QOE, total

BODY: dict[str, Any] = {"model": "tiny", "prompt": " stone", "max_tokens": 2}
REFUSING = {**QOE, "unknownClass": "Refuse"}


async def _status_becomes(client: httpx.AsyncClient, engine: EngineProcess, qoe_class: str, wanted: int) -> bool:
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        reply = await client.post(f"{engine.url}/v1/completions", json=BODY, headers={"X-Andante-Class": qoe_class})
        if reply.status_code == wanted:
            return True
        await asyncio.sleep(0.1)
    return False


async def test_settings_are_read_again(client: httpx.AsyncClient) -> None:
    with EngineProcess(CONFIG, qoe=REFUSING) as engine:
        assert await _status_becomes(client, engine, "voice", 400)
        voice = {"name": "voice", "expectedTtftSeconds": 0.5, "pace": 3.3}
        engine.qoe_path.write_text(
            yaml.safe_dump({**REFUSING, "objective": 0.871, "classes": [*QOE["classes"], voice]})
        )
        assert await _status_becomes(client, engine, "voice", 200)
        samples = engine.metrics()
        assert total(samples, "andante_requests_total", qoe_class="voice", outcome="completed") >= 1
        buckets = {dict(labels)["le"] for name, labels in samples if name == "andante_request_qoe_bucket"}
        assert "0.871" in buckets

        engine.qoe_path.write_text("classes: []\n")
        deadline = time.monotonic() + 15
        while total(engine.metrics(), "andante_qoe_settings_valid") == 1 and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
        assert total(engine.metrics(), "andante_qoe_settings_valid") == 0
        assert "QoE settings refused" in engine.log
        assert await _status_becomes(client, engine, "voice", 200)
