"""On an engine that is idle every kind of answer is perfect, by what the operator reads of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hack.engine_process import EngineProcess

from andante.adapters.exposition import WANTED, sample_of
from andante.adapters.exposition_lines import WantedLines
from andante.domain.pace import PRESETS
from andante.engine_config import QoEClassSettings
from andante.ports import PodSample
from contract.conftest import CONFIG, VIRTUAL

MIN_QOE = 0.999
ROUNDS = 3
"""The best one counts: a machine that is busy makes some answers late, a fault of ours makes them late always."""

READERS = {name: preset for name, preset in PRESETS.items() if preset.pace}
"""Every preset but `batch`, which has no QoE."""
QOE = {
    "defaultClass": "reading",
    "classes": [
        QoEClassSettings.from_domain(preset).model_dump(by_alias=True, exclude_none=True) for preset in PRESETS.values()
    ],
}

TEXT = " the river walks slow and the stone holds"
CHAT = [{"role": "user", "content": TEXT}]
TOKENS = 60
ANSWERS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("chat/completions", {"messages": CHAT, "max_tokens": TOKENS}),
    "completions": ("completions", {"prompt": TEXT, "max_tokens": TOKENS}),
    "responses": ("responses", {"input": TEXT, "max_output_tokens": TOKENS}),
    "messages": ("messages", {"messages": CHAT, "max_tokens": TOKENS}),
}

NAME = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
TOOL = {"name": "look", "parameters": {"type": "object", "properties": {"place": {"type": "string"}}}}
CALL = [{"role": "user", "content": '<tool_call>\n{"name": "look", "arguments": {"place": "river"}}\n</tool_call>'}]
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "tools in chat": (
        "chat/completions",
        {"messages": CALL, "max_tokens": TOKENS, "tools": [{"type": "function", "function": TOOL}]},
    ),
    "tools in messages": (
        "messages",
        {"messages": CALL, "max_tokens": TOKENS, "tools": [{"name": "look", "input_schema": TOOL["parameters"]}]},
    ),
    "tools in responses": (
        "responses",
        {"input": CALL[0]["content"], "max_output_tokens": TOKENS, "tools": [{"type": "function", **TOOL}]},
    ),
    "JSON schema in chat": (
        "chat/completions",
        {
            "messages": CHAT,
            "max_tokens": TOKENS,
            "response_format": {"type": "json_schema", "json_schema": {"name": "name", "schema": NAME}},
        },
    ),
    "JSON schema in responses": (
        "responses",
        {
            "input": TEXT,
            "max_output_tokens": TOKENS,
            "text": {"format": {"type": "json_schema", "name": "name", "schema": NAME}},
        },
    ),
    "JSON in completions": (
        "completions",
        {"prompt": TEXT, "max_tokens": TOKENS, "structured_outputs": {"json": NAME}},
    ),
    "two choices in chat": ("chat/completions", {"messages": CHAT, "max_tokens": TOKENS, "n": 2, "temperature": 1}),
    "two choices in completions": ("completions", {"prompt": TEXT, "max_tokens": TOKENS, "n": 2, "temperature": 1}),
}


@pytest.fixture(scope="module")
def idle_engine() -> Iterator[EngineProcess]:
    """An H100 on which nothing else runs: 7 ms a token."""
    parser = ["--enable-auto-tool-choice", "--tool-call-parser", "hermes"]
    config = {**CONFIG, "virtualGpu": {**VIRTUAL, "timeScale": 1.0}, "extraArgs": parser}
    with EngineProcess(config, qoe=QOE) as process:
        for path, what in [*ANSWERS.values(), *FORMS.values()]:  # grammars and vLLM's code paths are loaded once
            for stream in (True, False):
                reply = httpx.post(**_request(process, path, what, stream, "batch"), timeout=60.0)
                assert reply.status_code == 200, reply.text
        yield process


def _request(engine: EngineProcess, path: str, what: dict[str, Any], stream: bool, qoe_class: str) -> dict[str, Any]:
    """The arguments of httpx's `post`."""
    body = {"model": "tiny", "temperature": 0, "stream": stream, **what}
    return {"url": f"{engine.url}/v1/{path}", "json": body, "headers": {"X-Andante-Class": qoe_class}}


async def _sample(client: httpx.AsyncClient, engine: EngineProcess) -> PodSample:
    """What the operator would have read now."""
    reply = await client.get(f"{engine.url}/metrics")
    lines = WantedLines(WANTED)
    lines.feed(reply.content)
    sample = sample_of(lines, at=time.time())
    assert isinstance(sample, PodSample), sample
    return sample


async def _mean_qoe(
    client: httpx.AsyncClient, engine: EngineProcess, path: str, what: dict[str, Any], stream: bool, names: list[str]
) -> dict[str, float]:
    """QoE of one answer for each class, asked for one after the other."""
    before = await _sample(client, engine)
    for name in names:
        reply = await client.post(**_request(engine, path, what, stream, name))
        assert reply.status_code == 200, reply.text
    deadline = time.monotonic() + 20
    while True:
        after = await _sample(client, engine)
        ended = {name: after.by_class[name][1] - before.by_class[name][1] for name in names}
        if sum(ended.values()) >= len(names) or time.monotonic() > deadline:
            break
        await asyncio.sleep(0.05)
    assert set(ended.values()) == {1.0}, ended
    return {name: after.by_class[name][0] - before.by_class[name][0] for name in names}


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("kind", ANSWERS)
async def test_every_preset_is_served_perfectly(
    idle_engine: EngineProcess, client: httpx.AsyncClient, kind: str, stream: bool
) -> None:
    rounds = [await _mean_qoe(client, idle_engine, *ANSWERS[kind], stream, list(READERS)) for _ in range(ROUNDS)]
    best = {name: max(each[name] for each in rounds) for name in READERS}
    assert min(best.values()) >= MIN_QOE, best


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("kind", FORMS)
async def test_so_is_every_form_of_answer(
    idle_engine: EngineProcess, client: httpx.AsyncClient, kind: str, stream: bool
) -> None:
    names = ["reading", "code"]
    rounds = [await _mean_qoe(client, idle_engine, *FORMS[kind], stream, names) for _ in range(ROUNDS)]
    best = {name: max(each[name] for each in rounds) for name in names}
    assert min(best.values()) >= MIN_QOE, best
