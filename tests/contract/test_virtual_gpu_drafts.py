"""Speculative decoding through the whole server: exact streams, several tokens a step, and what else tokens carry."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hack.engine_process import EngineProcess

from contract.conftest import CONFIG, VIRTUAL, counted, repeated, stream_completion, total

STREAMS = 24
DRAFTS = 3


@pytest.fixture(scope="module", params=["ngram_gpu", "ngram"], ids=["async", "sync"])
def drafting(request: pytest.FixtureRequest) -> Iterator[EngineProcess]:
    """An engine whose KV cache holds a few of the streams only, so that it must preempt."""
    speculative = {"method": request.param, "num_speculative_tokens": DRAFTS, "prompt_lookup_max": 2}
    virtual = {**VIRTUAL, "timeScale": 0.5, "kvCapacityTokens": 2048, "draftAcceptance": 0.6}
    model = {**CONFIG["model"], "maxModelLen": 2048}
    arguments = ["--speculative-config", json.dumps(speculative)]
    with EngineProcess({**CONFIG, "model": model, "virtualGpu": virtual, "extraArgs": arguments}) as process:
        yield process


async def test_streams_are_exact_although_drafts_are_refused_and_requests_preempted(
    drafting: EngineProcess, client: httpx.AsyncClient
) -> None:
    before = drafting.metrics()
    source = random.Random(1)  # noqa: S311  reproducible, not secret
    prompts = [[source.randrange(10, 400) for _ in range(source.randrange(5, 90))] for _ in range(STREAMS)]
    streams = await asyncio.gather(
        *(stream_completion(client, drafting, prompt=prompt, max_tokens=200) for prompt in prompts)
    )
    assert [stream.tokens for stream in streams] == [repeated(prompt, 200) for prompt in prompts]
    metrics = drafting.metrics()
    assert total(metrics, "vllm:num_preemptions_total") > 0
    held = total(metrics, "vllm:spec_decode_num_accepted_tokens_total")
    drafted = total(metrics, "vllm:spec_decode_num_draft_tokens_total")
    expected = (0.6 + 0.6**2 + 0.6**3) / DRAFTS
    assert held / drafted == pytest.approx(expected, rel=0.1)
    assert total(metrics, "andante_scheduler_active", reason="policy") == 1
    assert 1.5 < total(metrics, "andante_scheduler_tokens_per_step") < 2.3
    increase = await counted(drafting, before, STREAMS)
    assert increase["andante_tokens_total:visible"] == STREAMS * 200


async def test_an_answer_keeps_to_its_schema(drafting: EngineProcess, client: httpx.AsyncClient) -> None:
    schema: dict[str, Any] = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
    request = {
        "model": "tiny",
        "messages": [{"role": "user", "content": "the river"}],
        "max_tokens": 100,
        "response_format": {"type": "json_schema", "json_schema": {"name": "person", "schema": schema}},
    }
    replies = await asyncio.gather(
        *(client.post(f"{drafting.url}/v1/chat/completions", json=request) for _ in range(4)),
        stream_completion(client, drafting, prompt=[50, 60, 70], max_tokens=100),
    )
    for reply in replies[:4]:
        assert isinstance(reply, httpx.Response)
        assert type(json.loads(reply.json()["choices"][0]["message"]["content"])["age"]) is int


async def test_each_token_has_its_log_probability(drafting: EngineProcess, client: httpx.AsyncClient) -> None:
    request = {"model": "tiny", "prompt": " river stone", "max_tokens": 40, "logprobs": 2}
    reply = await client.post(f"{drafting.url}/v1/completions", json=request)
    assert reply.status_code == 200, reply.text
    logprobs = reply.json()["choices"][0]["logprobs"]
    assert "".join(logprobs["tokens"]) == " river stone" * 20
    assert logprobs["token_logprobs"] == [0.0] * 40
