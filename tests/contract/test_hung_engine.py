"""An engine core that hangs fails the health check and takes no requests; a core with long prefills does not."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest
from hack.engine_process import EngineProcess

from contract.conftest import CONFIG, QOE, VIRTUAL, stream_completion, total

PATIENCE = 2.0
SECONDS = 30.0
SLOW = {**VIRTUAL, "timeScale": 60.0, "maxNumBatchedTokens": 128, "maxNumSeqs": 64}
"""Half a second for each part of a prompt."""
LONG = [300] * 1800


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineProcess]:
    config = {**CONFIG, "virtualGpu": SLOW, "hangTimeoutSeconds": PATIENCE}
    with EngineProcess(config, qoe=QOE) as process:
        yield process


@contextmanager
def stopped_core(engine: EngineProcess) -> Iterator[None]:
    """The engine core makes no step inside the block."""
    core = engine.core_pid
    os.kill(core, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(core, signal.SIGCONT)


async def _health(engine: EngineProcess, client: httpx.AsyncClient) -> int:
    return (await client.get(f"{engine.url}/health")).status_code


async def _until(holds: Callable[[int], bool], engine: EngineProcess, client: httpx.AsyncClient) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds(await _health(engine, client)):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


async def test_a_core_that_hangs_is_known_until_it_works_again(
    engine: EngineProcess, client: httpx.AsyncClient
) -> None:
    answer = asyncio.create_task(stream_completion(client, engine, prompt=[300] * 5, max_tokens=40, ignore_eos=True))
    await asyncio.sleep(1.0)
    with stopped_core(engine):
        assert await _health(engine, client) == 200
        await _until(lambda status: status == 503, engine, client)
        refused = await client.post(f"{engine.url}/v1/completions", json={"model": "tiny", "prompt": "x"})
        assert refused.status_code == 503
        assert (refused.headers["connection"], refused.headers["retry-after"]) == ("close", "1")
        assert total(engine.metrics(), "andante_engine_silent_seconds") > PATIENCE
        assert total(engine.metrics(), "andante_open_requests") == 1
    await _until(lambda status: status == 200, engine, client)
    assert len((await answer).tokens) == 40
    assert engine.log.count("the engine core hangs") == 1
    assert engine.log.count("the engine core works again") == 1


async def test_what_readers_lose_in_a_hang_is_a_failure_and_no_load(
    engine: EngineProcess, client: httpx.AsyncClient
) -> None:
    answer = asyncio.create_task(stream_completion(client, engine, prompt=[300] * 5, max_tokens=10, ignore_eos=True))
    await asyncio.sleep(1.0)
    with stopped_core(engine):
        deadline = time.monotonic() + SECONDS
        while not total(engine.metrics(), "andante_open_deficit", cause="failed"):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.5)
        found = engine.metrics()
        assert total(found, "andante_open_deficit", cause="load") == 0
        assert total(found, "andante_open_deficit", cause="idle") == 0
    await answer


async def test_a_prompt_that_takes_long_is_no_hang(engine: EngineProcess, client: httpx.AsyncClient) -> None:
    began = time.monotonic()
    answer = asyncio.create_task(stream_completion(client, engine, prompt=LONG, max_tokens=2))
    while not answer.done():
        assert await _health(engine, client) == 200
        await asyncio.sleep(0.1)
    first = (await answer).delivery[0]
    assert first > 2 * PATIENCE, f"the prompt took {first:.1f} s of {time.monotonic() - began:.1f} s"
