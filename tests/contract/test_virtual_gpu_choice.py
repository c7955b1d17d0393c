"""Structured output and log probabilities on the virtual GPU."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest
from hack.engine_process import EngineProcess

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}, "tags": {"type": "array", "items": {}}},
    "required": ["name", "age", "tags"],
}


async def _chat(client: httpx.AsyncClient, engine: EngineProcess, **body: Any) -> dict[str, Any]:
    request = {"model": "tiny", "messages": [{"role": "user", "content": "the river"}], "max_tokens": 200, **body}
    reply = await client.post(f"{engine.url}/v1/chat/completions", json=request)
    assert reply.status_code == 200, reply.text
    choice: dict[str, Any] = reply.json()["choices"][0]
    return choice


async def test_an_object_is_an_object(engine: EngineProcess, client: httpx.AsyncClient) -> None:
    choice = await _chat(client, engine, response_format={"type": "json_object"})
    assert isinstance(json.loads(choice["message"]["content"]), dict)


async def test_an_answer_keeps_to_its_schema(engine: EngineProcess, client: httpx.AsyncClient) -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON}}
    said = json.loads((await _chat(client, engine, response_format=schema))["message"]["content"])
    assert set(said) == {"name", "age", "tags"}
    assert [type(said[field]) for field in ("name", "age", "tags")] == [str, int, list]


async def test_an_answer_keeps_to_its_pattern(engine: EngineProcess, client: httpx.AsyncClient) -> None:
    choice = await _chat(client, engine, structured_outputs={"regex": "[0-9]{3}-[a-z]{2}"})
    assert re.fullmatch("[0-9]{3}-[a-z]{2}", choice["message"]["content"])


@pytest.mark.parametrize("stream", [True, False])
async def test_log_probabilities_are_of_the_tokens_that_were_said(
    engine: EngineProcess, client: httpx.AsyncClient, stream: bool
) -> None:
    request = {"model": "tiny", "prompt": " river stone", "max_tokens": 4, "logprobs": 2, "stream": stream}
    reply = await client.post(f"{engine.url}/v1/completions", json=request)
    assert reply.status_code == 200, reply.text
    parts = [json.loads(line[6:]) for line in reply.text.splitlines() if line.startswith("data: {")]
    choices = [choice for part in (parts or [reply.json()]) for choice in part["choices"]]
    tokens = [token for choice in choices for token in choice["logprobs"]["tokens"]]
    assert "".join(tokens) == "".join(choice["text"] for choice in choices) == " river stone river stone"
    assert [value for choice in choices for value in choice["logprobs"]["token_logprobs"]] == [0.0] * 4


async def test_a_chat_gets_log_probabilities(engine: EngineProcess, client: httpx.AsyncClient) -> None:
    choice = await _chat(client, engine, max_tokens=3, logprobs=True, top_logprobs=2)
    assert [len(token["top_logprobs"]) for token in choice["logprobs"]["content"]] == [2, 2, 2]
