"""With the meter, replies are the same, field by field, but for one header of streams."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from hack.engine_process import EngineProcess

from contract.conftest import CONFIG, counted

BUFFERING = "x-accel-buffering"
CHAT = {"messages": [{"role": "user", "content": " the river"}]}
BEAMS = {"use_beam_search": True, "n": 2}
"""vLLM asks its engine for each token of each beam, all with one object of parameters."""
RESPONSE = {
    "input": " the river",
    "max_output_tokens": 5,
    "tools": [{"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}}],
    "tool_choice": "none",
}
REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("completions", {"prompt": " the river"}),
    ("completions", {"prompt": [" the river", " stone"], "n": 2, "stream": True}),
    ("completions", {"prompt": " the river", "vllm_xargs": {"other": 1}}),
    ("chat/completions", CHAT),
    ("chat/completions", {**CHAT, "stream": True, "stream_options": {"include_usage": True}}),
    ("chat/completions", {**CHAT, "max_tokens": -1}),
    ("chat/completions", {}),
    ("completions", {"prompt": " the river", **BEAMS}),
    ("chat/completions", {**CHAT, **BEAMS}),
    ("responses", RESPONSE),
    ("responses", {**RESPONSE, "stream": True}),
]
CHANGING = ("id", "created", "created_at", "completed_at", "item_id", "call_id")
"""Fields that differ from call to call."""


def _comparable(reply: httpx.Response) -> tuple[int, dict[str, str], list[str]]:
    """Status, headers and documents of a reply without what differs from call to call."""
    headers = {
        name: value for name, value in reply.headers.items() if name not in ("date", "content-length", BUFFERING)
    }
    lines = [line for line in reply.text.splitlines() if line.startswith(("data: {", "{"))]
    documents = [_lasting(json.loads(line.removeprefix("data: "))) for line in lines]
    texts = _joined(documents) if "event-stream" in headers.get("content-type", "") else {}
    told = [json.dumps(document, sort_keys=True) for document in (*documents, *([texts] if texts else []))]
    return reply.status_code, headers, sorted(told)


def _joined(documents: list[Any]) -> dict[str, str]:
    """Take the text out of a stream's documents, and leave out those with nothing else; by answer, the whole text.

    vLLM hands on in one piece the tokens that came while the server was busy: a stream is cut differently each time.
    """
    texts: dict[str, str] = {}
    for document in list(documents):
        document.pop("sequence_number", None)
        holders = [document] if isinstance(document.get("delta"), str) else document.get("choices") or []
        for holder in holders:
            inner = isinstance(holder.get("delta"), dict)
            part, name = (holder["delta"], "content") if inner else (holder, "text" if "text" in holder else "delta")
            answer = str(holder.get("index"))
            texts[answer] = texts.get(answer, "") + (part.pop(name, None) or "")
        if holders and not any(holder.get("finish_reason") or holder.get("delta") for holder in holders):
            documents.remove(document)
    return texts


def _lasting(value: Any) -> Any:
    """A part of a document without what differs from call to call."""
    if isinstance(value, dict):
        return {name: _lasting(part) for name, part in value.items() if name not in CHANGING}
    return [_lasting(part) for part in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def replies_without_meter(engine: EngineProcess) -> list[tuple[int, dict[str, str], list[str]]]:
    # The same cache, since vLLM's system fingerprint depends on the model's folder.
    cache = {"ANDANTE_ENGINE_CACHE": str(engine.folder / "cache")}
    with EngineProcess(CONFIG, meter=False, environment=cache) as bare:
        return [_comparable(_post(bare, path, body)) for path, body in REQUESTS]


def _post(engine: EngineProcess, path: str, body: dict[str, Any]) -> httpx.Response:
    return httpx.post(f"{engine.url}/v1/{path}", json={"model": "tiny", "max_tokens": 5, **body}, timeout=60)


def test_replies_are_the_same_with_and_without_the_meter(
    engine: EngineProcess, replies_without_meter: list[tuple[int, dict[str, str], list[str]]]
) -> None:
    with_meter = [_comparable(_post(engine, path, body)) for path, body in REQUESTS]
    assert with_meter == replies_without_meter
    statuses = [reply[0] for reply in with_meter]
    assert [path for (path, body), status in zip(REQUESTS, statuses, strict=True) if body and status != 200] == [
        "chat/completions"  # the one with max_tokens -1
    ]


@pytest.mark.parametrize(
    ("path", "body"), [REQUESTS[-4], REQUESTS[-3], REQUESTS[-2]], ids=["completions", "chat", "responses"]
)
async def test_several_calls_of_the_engine_for_one_reply_are_scored_once(
    engine: EngineProcess, path: str, body: dict[str, Any]
) -> None:
    before = engine.metrics()
    reply = _post(engine, path, body)
    assert reply.status_code == 200, reply.text
    increase = await counted(engine, before, requests=1)
    assert increase["andante_requests_total:completed"] == 1
    assert increase["andante_requests_scored_total"] == 1
    # Five tokens long is the text of each beam, which all come together.
    assert 5 <= increase["andante_tokens_total:visible"] <= 10
    assert increase["andante_open_requests"] == 0


@pytest.mark.parametrize(("stream", "headers"), [(True, ["no"]), (False, [])])
def test_streams_ask_gateways_not_to_hold_them_back(engine: EngineProcess, stream: bool, headers: list[str]) -> None:
    reply = _post(engine, "completions", {"prompt": " the river", "stream": stream})
    assert reply.headers.get_list(BUFFERING) == headers
