"""The engine's figures against what its clients saw: same tokens, same QoE, every request counted exactly once."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import httpx
import pytest
from hack.docs.markdown import ROOT
from hack.engine_process import EngineProcess, parse_metrics

from andante.domain.slo.rules import generic_groups
from contract.conftest import counted, opened, stream_completion, total
from metric_lint import faults

PROMPT = " the river walks slow and the stone holds"
HURRIED = {"X-Andante-Class": "hurried"}
CHAT = [{"role": "user", "content": PROMPT}]


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize(
    ("path", "what"), [("completions", {"prompt": PROMPT}), ("chat/completions", {"messages": CHAT})]
)
async def test_every_form_of_reply_counts_one_request_and_its_tokens(
    engine: EngineProcess, client: httpx.AsyncClient, path: str, what: dict[str, Any], stream: bool, n: int
) -> None:
    before = engine.metrics()
    body = {"model": "tiny", "max_tokens": 12, "n": n, "stream": stream, **what}
    reply = await client.post(f"{engine.url}/v1/{path}", json=body)
    assert reply.status_code == 200
    increase = await counted(engine, before, requests=1)
    assert increase["andante_requests_total:completed"] == 1
    # One reader, however many choices: they have 12 tokens when the slowest choice has.
    assert increase["andante_tokens_total:visible"] == 12
    assert increase["andante_ttft_seconds_count"] == 1


async def test_who_asks_for_some_series_gets_these_alone_and_as_the_whole_page_has_them(
    engine: EngineProcess, client: httpx.AsyncClient
) -> None:
    names = ("andante_open_requests", "andante_ended_qoe_total", "andante_tokens_total")
    whole = await client.get(f"{engine.url}/metrics")
    some = await client.get(f"{engine.url}/metrics", params=[("name[]", name) for name in names])
    found = parse_metrics(some.text)
    assert {name for name, _ in found} == set(names)
    assert found == {key: value for key, value in parse_metrics(whole.text).items() if key[0] in names}
    assert len(some.content) < len(whole.content) / 10


async def test_a_whole_reply_is_delivered_at_once(engine: EngineProcess, client: httpx.AsyncClient) -> None:
    before = engine.metrics()
    body = {"model": "tiny", "prompt": PROMPT, "max_tokens": 30}
    await client.post(f"{engine.url}/v1/completions", json=body)
    increase = await counted(engine, before, requests=1)
    assert increase["andante_max_tbt_seconds_sum"] == 0
    assert increase["andante_ttft_seconds_sum"] > 30 * 0.0408 * 0.95  # 30 steps of 41 ms, then everything


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("completions", {"prompt": PROMPT, "max_tokens": 60}),
        ("chat/completions", {"messages": CHAT, "max_tokens": 60}),
        ("responses", {"input": PROMPT, "max_output_tokens": 60}),
        ("messages", {"messages": CHAT, "max_tokens": 60}),
    ],
)
async def test_an_answer_that_comes_whole_before_it_would_be_read_is_perfect(
    engine: EngineProcess, client: httpx.AsyncClient, path: str, what: dict[str, Any]
) -> None:
    """60 tokens in 2.4 s; as a stream whose tokens all come at the end that would be a QoE of .8."""
    before = engine.metrics()
    reply = await client.post(f"{engine.url}/v1/{path}", json={"model": "tiny", "temperature": 0, **what})
    assert reply.status_code == 200, reply.text
    increase = await counted(engine, before, requests=1)
    assert increase["andante_tokens_total:visible"] == 60
    assert increase["andante_ended_qoe_total"] == 1.0
    assert increase["andante_idle_penalty_tokens_total"] == 0.0


async def test_several_prompts_are_one_request(engine: EngineProcess, client: httpx.AsyncClient) -> None:
    before = engine.metrics()
    body = {"model": "tiny", "prompt": [" stone", " tree walk", " wind"], "max_tokens": 9, "stream": True}
    await client.post(f"{engine.url}/v1/completions", json=body)
    increase = await counted(engine, before, requests=1)
    assert increase["andante_tokens_total:visible"] == 9
    assert increase["andante_tokens_total:prompt"] == 1 + 2 + 1


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_a_client_that_leaves_is_aborted_once(
    engine: EngineProcess, client: httpx.AsyncClient, stream: bool
) -> None:
    before = engine.metrics()
    body = {"model": "tiny", "prompt": PROMPT, "max_tokens": 3000, "stream": stream}
    if stream:
        async with client.stream("POST", f"{engine.url}/v1/completions", json=body) as reply:
            await anext(reply.aiter_lines())
    else:
        waiting = asyncio.create_task(client.post(f"{engine.url}/v1/completions", json=body))
        await opened(engine, before, requests=1)
        waiting.cancel()
    increase = await counted(engine, before, requests=1)
    assert increase["andante_requests_total:aborted"] == 1
    assert increase["andante_open_requests"] == 0
    assert (increase["andante_tokens_total:visible"] > 0) == stream


async def test_open_requests_show_while_they_run(engine: EngineProcess, client: httpx.AsyncClient) -> None:
    before = engine.metrics()
    body = {"model": "tiny", "prompt": PROMPT, "max_tokens": 500, "stream": True}
    url = f"{engine.url}/v1/completions"
    async with client.stream("POST", url, json=body, headers=HURRIED) as reply:
        chunks = reply.aiter_lines()
        for _ in range(60):  # half of the lines are empty; after 30 tokens the reader is 0.6 s behind
            await anext(chunks)
        during = await counted(engine, before, requests=0)
        assert during["andante_open_requests"] == 1
        assert 0 < during["andante_open_qoe"] < 1
        assert during["andante_open_deficit"] > 0
        assert during["andante_open_bad_requests"] == 1
    after = await counted(engine, before, requests=1)
    assert after["andante_open_requests"] == 0


async def test_a_pace_that_the_engine_never_reaches_is_told_apart_from_load(
    engine: EngineProcess, client: httpx.AsyncClient
) -> None:
    """The fit comes from the scheduler in the engine core; after some streams it has one."""
    before = engine.metrics()
    await stream_completion(client, engine, prompt=PROMPT, max_tokens=80, headers=HURRIED)
    increase = await counted(engine, before, requests=1)
    parts = {
        cause: increase[f"andante_request_deficit_total:{cause}"] for cause in ("load", "idle", "failed", "client")
    }
    assert sum(parts.values()) == pytest.approx(increase["andante_request_deficit_total"])
    assert parts["idle"] > 0
    assert parts["load"] == 0  # nobody else was there, however busy this machine is
    reasons = [increase[f"andante_request_idle_deficit_total:{why}"] for why in ("pace", "slow")]
    assert sum(reasons) == pytest.approx(parts["idle"])
    assert total(engine.metrics(), "andante_idle_step_time_fitted") == 1


async def test_batch_requests_have_no_qoe(engine: EngineProcess, client: httpx.AsyncClient) -> None:
    before = engine.metrics()
    await stream_completion(client, engine, prompt=PROMPT, max_tokens=5, headers={"X-Andante-Class": "batch"})
    increase = await counted(engine, before, requests=1)
    assert increase["andante_tokens_total:visible"] == 5
    assert increase["andante_requests_scored_total"] == 0
    assert increase["andante_requests_good_total"] == 0


async def test_a_prompt_that_is_too_long_is_the_clients_mistake(
    engine: EngineProcess, client: httpx.AsyncClient
) -> None:
    before = engine.metrics()
    body = {"model": "tiny", "prompt": [300] * 5000, "max_tokens": 5}
    reply = await client.post(f"{engine.url}/v1/completions", json=body)
    assert reply.status_code == 400
    await counted(engine, before, requests=0)


async def test_objectives_have_a_bucket(engine: EngineProcess) -> None:
    samples = engine.metrics()
    buckets = {dict(labels)["le"] for name, labels in samples if name == "andante_request_qoe_bucket"}
    assert "0.95" in buckets


async def test_promtool_has_no_fault_to_find_with_our_metrics(engine: EngineProcess, client: httpx.AsyncClient) -> None:
    await stream_completion(client, engine, prompt=PROMPT, max_tokens=5)
    page = (await client.get(f"{engine.url}/metrics")).text
    assert faults(page, of="vllm:")  # vLLM's names have colons, which promtool does not like
    assert faults(page, of="andante_") == []


async def test_every_series_that_alerts_dashboards_and_runbooks_read_is_exported(
    engine: EngineProcess, client: httpx.AsyncClient
) -> None:
    """Of vLLM's by their names alone; whether ours exist at all is for the tests that parse the queries."""
    await stream_completion(client, engine, prompt=PROMPT, max_tokens=5)
    rules = [rule["expr"] for group in generic_groups() for rule in group["rules"]]
    files = [*ROOT.glob("charts/andante-operator/dashboards/*.json"), *ROOT.glob("docs/runbooks/*.md")]
    files.append(ROOT / "docs" / "reference" / "metrics.md")
    text = "\n".join([*rules, *(path.read_text() for path in files)])
    named = set(re.findall(r"vllm:[a-z_]*[a-z]", text))
    assert "vllm:generation_tokens_total" in named
    assert named <= {name for name, _ in parse_metrics((await client.get(f"{engine.url}/metrics")).text)}
