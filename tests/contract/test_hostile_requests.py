"""Whatever a client sends, the answer is one that the client can act on, and the engine lives.

`make http-fuzz` sends 100,000 requests, new ones each time; ANDANTE_FUZZ_REQUESTS and ANDANTE_FUZZ_SEED say how many,
and which.
"""

from __future__ import annotations

import asyncio
import os
import random

import httpx
from hack.engine_process import EngineProcess

from contract.conftest import repeated, stream_completion
from contract.hostile_requests import HostileRequest, ask, request

REQUESTS = int(os.environ.get("ANDANTE_FUZZ_REQUESTS", "400"))
SEED = int(os.environ.get("ANDANTE_FUZZ_SEED", "1"))
AT_ONCE = 16
SECONDS = 120.0


async def test_every_answer_helps_its_client_and_the_engine_lives(
    engine: EngineProcess, client: httpx.AsyncClient
) -> None:
    source = random.Random(SEED)  # noqa: S311  reproducible, not secret
    room = asyncio.Semaphore(AT_ONCE)
    wrong: list[str] = []

    async def send(hostile: HostileRequest) -> None:
        async with room:
            answer = await ask(engine.port, hostile, seconds=SECONDS)
            fine = 200 <= answer.status < 300 or (400 <= answer.status < 500 and answer.sentence)
            left_before_the_answer = not hostile.whole and not answer.status
            if not (fine or left_before_the_answer):
                wrong.append(f"{answer.status} {answer.body[:200]!r} to {hostile.raw[:600]!r}")

    for begin in range(0, REQUESTS, 1000):
        await asyncio.gather(*(send(request(source)) for _ in range(min(1000, REQUESTS - begin))))
        assert not wrong, f"seed {SEED}, {len(wrong)} of {REQUESTS}:\n" + "\n".join(wrong[:20])
    stream = await stream_completion(client, engine, prompt=[300, 301], max_tokens=5)
    assert stream.tokens == repeated([300, 301], 5)
