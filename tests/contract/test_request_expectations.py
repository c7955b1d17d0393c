"""What clients may say about themselves, in headers and bodies; hostile values get a 400 that names the field."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from hack.engine_process import EngineProcess

from contract.conftest import counted, stream_completion

BODY: dict[str, Any] = {"model": "tiny", "prompt": " stone", "max_tokens": 2}
CHAT_BODY: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": " stone"}], "max_tokens": 2}


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("X-Andante-Class", "x" * 5000),
        ("X-Andante-Pace", "nan"),
        ("X-Andante-Pace", "-1"),
        ("X-Andante-Pace", "0"),
        ("X-Andante-Pace", "1e-300"),
        ("X-Andante-Pace", "fast"),
        ("X-Andante-Expected-TTFT", "inf"),
        ("X-Andante-Expected-TTFT", "9" * 5000),
        ("X-Andante-Deadline", "3"),
    ],
)
async def test_a_bad_header_is_named(engine: EngineProcess, client: httpx.AsyncClient, header: str, value: str) -> None:
    before = engine.metrics()
    reply = await client.post(f"{engine.url}/v1/completions", json=BODY, headers={header: value})
    assert reply.status_code == 400
    assert reply.json()["error"]["param"].lower() == header.lower()
    await counted(engine, before, requests=0)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("andante_class", 3),
        ("andante_pace", "fast"),
        ("andante_pace", -1),
        ("andante_pace", 1e-300),
        ("andante_pace", [1]),
        ("andante_expected_ttft", "1" * 5000),
        ("andante_received_at", 0.0),
    ],
)
async def test_a_bad_body_value_is_named(
    engine: EngineProcess, client: httpx.AsyncClient, key: str, value: object, stream: bool
) -> None:
    before = engine.metrics()
    body = {**CHAT_BODY, "stream": stream, "vllm_xargs": {key: value}}
    reply = await client.post(f"{engine.url}/v1/chat/completions", json=body)
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == f"vllm_xargs.{key}"
    await counted(engine, before, requests=0)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("way", ["header", "body"])
async def test_a_class_that_is_not_there_counts_as_the_default_one_and_the_reply_says_so(
    engine: EngineProcess, client: httpx.AsyncClient, way: str, stream: bool
) -> None:
    before = engine.metrics()
    headers = {"X-Andante-Class": "nobody"} if way == "header" else {}
    xargs = {"andante_class": "nobody"} if way == "body" else {}
    body = {**CHAT_BODY, "stream": stream, "vllm_xargs": xargs}
    reply = await client.post(f"{engine.url}/v1/chat/completions", json=body, headers=headers)
    assert reply.status_code == 200
    assert reply.headers["X-Andante-Unknown-Class"] == "counted as reading"
    increase = await counted(engine, before, requests=1)
    assert increase["andante_unknown_class_requests_total"] == 1
    known = await client.post(f"{engine.url}/v1/chat/completions", json=CHAT_BODY)
    assert "X-Andante-Unknown-Class" not in known.headers


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
async def test_numbers_beyond_json_are_refused(engine: EngineProcess, client: httpx.AsyncClient, number: str) -> None:
    text = f'{{"model": "tiny", "prompt": " stone", "max_tokens": 2, "vllm_xargs": {{"andante_pace": {number}}}}}'
    reply = await client.post(
        f"{engine.url}/v1/completions", content=text, headers={"content-type": "application/json"}
    )
    assert reply.status_code == 400


async def test_the_engine_goes_on_after_garbage(engine: EngineProcess, client: httpx.AsyncClient) -> None:
    for garbage in (b"", b"{", b"\xff\xfe", b"[" * 10_000, b'{"vllm_xargs": 3}'):
        reply = await client.post(
            f"{engine.url}/v1/completions", content=garbage, headers={"content-type": "application/json"}
        )
        assert 400 <= reply.status_code < 500
    assert len((await stream_completion(client, engine, prompt=" stone", max_tokens=3)).tokens) == 3


async def test_the_most_and_the_least_that_a_client_may_ask_for_are_served(
    engine: EngineProcess, client: httpx.AsyncClient
) -> None:
    extremes = [(pace, ttft) for pace in (0.01, 1000) for ttft in (0, 5e-324, 86_400)]
    # One after the other on an idle engine, then all together.
    for pace, ttft in extremes:
        own = {"andante_class": "own", "andante_pace": pace, "andante_expected_ttft": ttft}
        assert len((await stream_completion(client, engine, prompt=" stone", max_tokens=5, vllm_xargs=own)).tokens) == 5
    bodies = [
        {**BODY, "vllm_xargs": {"andante_class": "own", "andante_pace": pace, "andante_expected_ttft": ttft}}
        for pace, ttft in extremes * 4
    ]
    replies = await asyncio.gather(*(client.post(f"{engine.url}/v1/completions", json=body) for body in bodies))
    assert {reply.status_code for reply in replies} == {200}


async def test_what_a_client_asks_beyond_its_class_makes_nothing_look_bad(
    engine: EngineProcess, client: httpx.AsyncClient
) -> None:
    before = engine.metrics()
    own = {"andante_pace": 1000, "andante_expected_ttft": 0}
    await stream_completion(client, engine, prompt=" stone tree", max_tokens=20, vllm_xargs=own)
    increase = await counted(engine, before, requests=1)
    assert increase["andante_ended_qoe_total"] == 1
    assert increase["andante_request_deficit_total"] == 0
    assert increase["andante_client_expectations_total:ignored"] == 1


async def test_a_clients_own_pace_is_what_it_is_measured_by_where_the_class_allows_it(
    engine: EngineProcess, client: httpx.AsyncClient
) -> None:
    before = engine.metrics()
    own = {"andante_class": "own", "andante_pace": 1000, "andante_expected_ttft": 0}
    await stream_completion(client, engine, prompt=" stone tree", max_tokens=20, vllm_xargs=own)
    increase = await counted(engine, before, requests=1)
    assert increase["andante_ended_qoe_total"] < 0.2  # 41 ms a token where 1 ms is expected
    assert increase["andante_request_deficit_total:client"] == pytest.approx(increase["andante_request_deficit_total"])
