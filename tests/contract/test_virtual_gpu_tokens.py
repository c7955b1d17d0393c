"""The virtual GPU says exactly what it must, token for token, whatever the scheduler does to its requests."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hack.engine_process import EngineProcess

from contract.conftest import CONFIG, VIRTUAL, repeated, stream_completion, total

STREAMS = 24


def crowded(*, asynchronous: bool = True, **scheduler: Any) -> EngineProcess:
    """An engine whose KV cache holds a few of the streams only, so that it must preempt."""
    virtual = {**VIRTUAL, "timeScale": 0.5, "kvCapacityTokens": 2048, "asyncScheduling": asynchronous}
    model = {**CONFIG["model"], "maxModelLen": 2048}
    return EngineProcess({**CONFIG, "model": model, "virtualGpu": virtual, "scheduler": scheduler})


@pytest.fixture(scope="module", params=[True, False], ids=["async", "sync"])
def crowded_engine(request: pytest.FixtureRequest) -> Iterator[EngineProcess]:
    with crowded(asynchronous=request.param) as process:
        yield process


@pytest.fixture(scope="module")
def offloading_engine() -> Iterator[EngineProcess]:
    with crowded(kvOffloadGib=4) as process:
        yield process


async def crowd_with_streams(engine: EngineProcess, client: httpx.AsyncClient) -> None:
    """More streams at once than fit; each must be exact, and some must have been preempted."""
    source = random.Random(1)  # noqa: S311  reproducible, not secret
    prompts = [[source.randrange(10, 400) for _ in range(source.randrange(5, 90))] for _ in range(STREAMS)]
    streams = await asyncio.gather(
        *(stream_completion(client, engine, prompt=prompt, max_tokens=200) for prompt in prompts)
    )
    assert [stream.tokens for stream in streams] == [repeated(prompt, 200) for prompt in prompts]
    assert total(engine.metrics(), "vllm:num_preemptions_total") > 0


async def test_streams_are_exact_although_requests_are_preempted(
    crowded_engine: EngineProcess, client: httpx.AsyncClient
) -> None:
    await crowd_with_streams(crowded_engine, client)


async def test_streams_are_exact_although_their_kv_was_on_the_host(
    offloading_engine: EngineProcess, client: httpx.AsyncClient
) -> None:
    await crowd_with_streams(offloading_engine, client)
    assert total(offloading_engine.metrics(), "vllm:kv_offload_load_bytes_total") > 0


async def test_a_stop_token_of_the_prompt_is_never_said(engine: EngineProcess, client: httpx.AsyncClient) -> None:
    end_of_text = 1
    stream = await stream_completion(client, engine, prompt=[300, end_of_text, 301], max_tokens=5)
    assert stream.tokens == [300, 301, 300, 301, 300]
