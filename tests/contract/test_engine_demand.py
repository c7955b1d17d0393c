"""What arrives and waits in a real engine, and what that engine can hold, as the operator reads it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import httpx
from hack.engine_process import EngineProcess

from andante.adapters.exposition import WANTED, sample_of
from andante.adapters.exposition_lines import WantedLines
from andante.ports import PodSample
from andante.profiles import load_profiles
from contract.conftest import VIRTUAL, counted, stream_completion

LONG = [300] * 3000
SECONDS = 20


async def _read(engine: EngineProcess, client: httpx.AsyncClient) -> PodSample:
    page = await client.get(f"{engine.url}/metrics", params=[("name[]", name) for name in sorted(WANTED)])
    lines = WantedLines(WANTED)
    lines.feed(page.content)
    sample = sample_of(lines, at=0.0)
    assert isinstance(sample, PodSample), sample.why
    return sample


async def _when(
    engine: EngineProcess, client: httpx.AsyncClient, holds: Callable[[tuple[float, float]], bool]
) -> tuple[float, float]:
    """What waits, as soon as it is so."""
    deadline = time.monotonic() + SECONDS
    while True:
        waiting = (await _read(engine, client)).waiting
        assert waiting is not None
        if holds(waiting):
            return waiting
        assert time.monotonic() < deadline, waiting
        await asyncio.sleep(0.02)


async def test_requests_arrive_once_with_the_tokens_of_all_their_prompts(
    engine: EngineProcess, client: httpx.AsyncClient
) -> None:
    before, metrics = (await _read(engine, client)).arrived, engine.metrics()
    seen = await stream_completion(client, engine, prompt=" the river walks", max_tokens=3)
    body = {"model": "tiny", "prompt": [[300] * 10, [301] * 25], "max_tokens": 3, "n": 2}
    await client.post(f"{engine.url}/v1/completions", json=body)
    refused = await client.post(f"{engine.url}/v1/completions", json={**body, "prompt": [300] * 5000})
    assert refused.status_code == 400
    await counted(engine, metrics, requests=2)
    after = (await _read(engine, client)).arrived
    assert before is not None
    assert after is not None
    assert (after[0] - before[0], after[1] - before[1]) == (2, len(seen.prompt) + 10 + 25)


async def test_prompts_wait_until_their_first_token(engine: EngineProcess, client: httpx.AsyncClient) -> None:
    metrics = engine.metrics()
    assert (await _read(engine, client)).waiting == (0, 0)
    body = {"model": "tiny", "max_tokens": 3}
    asked = [
        asyncio.create_task(client.post(f"{engine.url}/v1/completions", json={**body, "prompt": [300 + n, *LONG]}))
        for n in range(3)
    ]
    requests, tokens = await _when(engine, client, lambda waiting: waiting[0] >= 2)
    assert tokens == requests * (len(LONG) + 1)
    await asyncio.gather(*asked)
    await counted(engine, metrics, requests=3)
    assert (await _read(engine, client)).waiting == (0, 0)


async def test_what_the_engine_can_hold_and_how_fast_it_is_is_told(
    engine: EngineProcess, client: httpx.AsyncClient
) -> None:
    for _ in range(3):
        await stream_completion(client, engine, prompt=" the river walks", max_tokens=70)
    profile = load_profiles()[VIRTUAL["profile"]]
    capacity = (await _read(engine, client)).capacity
    assert capacity is not None
    assert abs(capacity.kv_tokens - VIRTUAL["kvCapacityTokens"]) <= profile.block_size
    assert (capacity.max_num_seqs, capacity.max_step_tokens) == (profile.max_num_seqs, profile.max_num_batched_tokens)
    assert capacity.fitted
    alone = capacity.step_time.seconds(prefill_tokens=0, sequences=1, context_tokens=40)
    true = VIRTUAL["timeScale"] * profile.coefficients.step_seconds(
        prefill_tokens=0, prefill_pairs=0, decode_seqs=1, context_tokens=40
    )
    assert 0.5 * true < alone < 3 * true  # a busy machine adds to each step


async def test_tokens_count_as_they_are_generated_of_an_answer_that_comes_whole_too(
    engine: EngineProcess, client: httpx.AsyncClient
) -> None:
    metrics, before = engine.metrics(), (await _read(engine, client)).generated
    assert before is not None
    body = {"model": "tiny", "prompt": " the river walks", "max_tokens": 200, "ignore_eos": True}
    asked = asyncio.create_task(client.post(f"{engine.url}/v1/completions", json=body))
    deadline = time.monotonic() + SECONDS
    while not 0 < ((await _read(engine, client)).generated or 0.0) - before < 200:
        assert not asked.done()
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    await asked
    await counted(engine, metrics, requests=1)
    assert (await _read(engine, client)).generated == before + 200
