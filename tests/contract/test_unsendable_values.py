"""Values that JSON can say and vLLM cannot send to its engine: a 400 that says so, and nothing is left behind."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from hack.engine_process import EngineProcess

from contract.conftest import total

HUGE = 10**400


@pytest.mark.parametrize("value", [{"top_k": HUGE}, {"top_k": -HUGE}, {"priority": HUGE}, {"min_tokens": -HUGE}])
@pytest.mark.parametrize("n", [1, 2])
async def test_a_number_beyond_64_bits_is_refused(
    engine: EngineProcess, client: httpx.AsyncClient, value: dict[str, Any], n: int
) -> None:
    body = {"model": "tiny", "prompt": " river", "max_tokens": 2, "n": n, **value}
    reply = await client.post(f"{engine.url}/v1/completions", json=body)
    assert reply.status_code == 400
    assert reply.json()["error"]["message"]
    assert total(engine.metrics(), "andante_open_requests") == 0
