"""Hidden reasoning is waiting: its tokens are counted apart, and the first visible token is what ends the wait."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hack.engine_process import EngineProcess

from contract.conftest import CONFIG, counted

# The virtual GPU repeats its prompt, so these are the answers too: mark, 3 words, mark, and 3 words in sight. The last
# mark is there because vLLM takes a prompt that ends outside of reasoning for a request without any.
REASONED = "<think> hear the river</think> slow and calm<think>"
TOOL_CALL = '<tool_call>\n{"name": "look", "arguments": {"place": "river"}}\n</tool_call>'
TOOLS = [
    {
        "type": "function",
        "function": {"name": "look", "parameters": {"type": "object", "properties": {"place": {"type": "string"}}}},
    }
]


@pytest.fixture(scope="module")
def parsing_engine() -> Iterator[EngineProcess]:
    parsers = ["--reasoning-parser", "deepseek_r1", "--enable-auto-tool-choice", "--tool-call-parser", "hermes"]
    with EngineProcess({**CONFIG, "extraArgs": parsers}) as process:
        yield process


async def _ask(client: httpx.AsyncClient, engine: EngineProcess, content: str, **more: Any) -> httpx.Response:
    body = {"model": "tiny", "messages": [{"role": "user", "content": content}], **more}
    reply = await client.post(f"{engine.url}/v1/chat/completions", json=body)
    assert reply.status_code == 200, reply.text
    return reply


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_reasoning_is_hidden(parsing_engine: EngineProcess, client: httpx.AsyncClient, stream: bool) -> None:
    before = parsing_engine.metrics()
    reply = await _ask(client, parsing_engine, REASONED, max_tokens=8, stream=stream)
    assert "reasoning" in reply.text
    increase = await counted(parsing_engine, before, requests=1)
    assert increase["andante_tokens_total:visible"] == 3
    assert increase["andante_tokens_total:hidden"] == 5
    # 5 hidden tokens at 41 ms each come before the first visible one.
    assert increase["andante_ttft_seconds_sum"] > 5 * 0.0408 * 0.95


BODIES: dict[str, dict[str, Any]] = {
    "responses": {"input": REASONED, "max_output_tokens": 8},
    "messages": {"messages": [{"role": "user", "content": REASONED}], "max_tokens": 8},
}


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("path", BODIES)
async def test_reasoning_is_hidden_on_other_paths_too(
    parsing_engine: EngineProcess, client: httpx.AsyncClient, path: str, stream: bool
) -> None:
    before = parsing_engine.metrics()
    body = {"model": "tiny", "temperature": 0, "stream": stream, **BODIES[path]}
    reply = await client.post(f"{parsing_engine.url}/v1/{path}", json=body)
    assert reply.status_code == 200, reply.text
    assert "thinking" in reply.text or "reasoning_text" in reply.text
    increase = await counted(parsing_engine, before, requests=1)
    assert increase["andante_tokens_total:visible"] == 3
    assert increase["andante_tokens_total:hidden"] == 5


async def test_reasoning_is_hidden_in_a_batch_of_chats(
    parsing_engine: EngineProcess, client: httpx.AsyncClient
) -> None:
    before = parsing_engine.metrics()
    chats = [[{"role": "user", "content": REASONED}]] * 2
    body = {"model": "tiny", "messages": chats, "max_tokens": 8, "temperature": 0}
    reply = await client.post(f"{parsing_engine.url}/v1/chat/completions/batch", json=body)
    assert reply.status_code == 200, reply.text
    increase = await counted(parsing_engine, before, requests=1)
    assert increase["andante_tokens_total:visible"] == 3
    assert increase["andante_tokens_total:hidden"] == 2 * 5


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_an_answer_that_only_reasons_shows_nothing(
    parsing_engine: EngineProcess, client: httpx.AsyncClient, stream: bool
) -> None:
    before = parsing_engine.metrics()
    await _ask(client, parsing_engine, REASONED, max_tokens=4, stream=stream)
    increase = await counted(parsing_engine, before, requests=1)
    assert increase["andante_tokens_total:visible"] == 0
    assert increase["andante_tokens_total:hidden"] == 4
    assert increase["andante_ended_qoe_total"] == 0
    # No further replica would have shown more.
    assert increase["andante_request_deficit_total:idle"] == pytest.approx(0.95)
    assert increase["andante_request_idle_deficit_total:reasoning"] == pytest.approx(0.95)
    assert increase["andante_request_deficit_total:load"] == 0


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_tool_calls_are_visible(parsing_engine: EngineProcess, client: httpx.AsyncClient, stream: bool) -> None:
    before = parsing_engine.metrics()
    content = "<think></think>" + TOOL_CALL + "<think>"
    sizes = await client.post(f"{parsing_engine.url}/tokenize", json={"model": "tiny", "prompt": content})
    tokens = sizes.json()["count"] - 1
    reply = await _ask(client, parsing_engine, content, max_tokens=tokens, stream=stream, tools=TOOLS)
    assert '"look"' in reply.text
    assert "tool_calls" in reply.text
    increase = await counted(parsing_engine, before, requests=1)
    assert increase["andante_tokens_total:visible"] + increase["andante_tokens_total:hidden"] == tokens
    assert increase["andante_tokens_total:hidden"] <= 2  # the marks of the empty reasoning
