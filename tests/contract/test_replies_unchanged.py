"""With the meter, replies are the same, field by field, but for one header of streams."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from hack.engine_process import EngineProcess

from contract.conftest import CONFIG

BUFFERING = "x-accel-buffering"
CHAT = {"messages": [{"role": "user", "content": " the river"}]}
REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("completions", {"prompt": " the river"}),
    ("completions", {"prompt": [" the river", " stone"], "n": 2, "stream": True}),
    ("completions", {"prompt": " the river", "vllm_xargs": {"other": 1}}),
    ("chat/completions", CHAT),
    ("chat/completions", {**CHAT, "stream": True, "stream_options": {"include_usage": True}}),
    ("chat/completions", {**CHAT, "max_tokens": -1}),
    ("chat/completions", {}),
]


def _comparable(reply: httpx.Response) -> object:
    """Status, headers and documents of a reply without what differs from call to call."""
    headers = {
        name: value for name, value in reply.headers.items() if name not in ("date", "content-length", BUFFERING)
    }
    lines = [line.removeprefix("data: ") for line in reply.text.splitlines() if line and line != "data: [DONE]"]
    documents = [json.loads(line) for line in lines]
    for document in documents:
        for changing in ("id", "created"):
            document.pop(changing, None)
    return reply.status_code, headers, sorted(json.dumps(document, sort_keys=True) for document in documents)


@pytest.fixture(scope="module")
def replies_without_meter(engine: EngineProcess) -> list[object]:
    # The same cache, since vLLM's system fingerprint depends on the model's folder.
    cache = {"ANDANTE_ENGINE_CACHE": str(engine.folder / "cache")}
    with EngineProcess(CONFIG, meter=False, environment=cache) as bare:
        return [_comparable(_post(bare, path, body)) for path, body in REQUESTS]


def _post(engine: EngineProcess, path: str, body: dict[str, Any]) -> httpx.Response:
    return httpx.post(f"{engine.url}/v1/{path}", json={"model": "tiny", "max_tokens": 5, **body}, timeout=60)


def test_replies_are_the_same_with_and_without_the_meter(
    engine: EngineProcess, replies_without_meter: list[object]
) -> None:
    assert [_comparable(_post(engine, path, body)) for path, body in REQUESTS] == replies_without_meter


@pytest.mark.parametrize(("stream", "headers"), [(True, ["no"]), (False, [])])
def test_streams_ask_gateways_not_to_hold_them_back(engine: EngineProcess, stream: bool, headers: list[str]) -> None:
    reply = _post(engine, "completions", {"prompt": " the river", "stream": stream})
    assert reply.headers.get_list(BUFFERING) == headers
