"""Starts engines for the contract tests: real vLLM, virtual GPU, no network. Tests that do not end it share one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from hack.engine_process import EngineProcess, Samples

VIRTUAL = {"profile": "llama-3-8b-1xh100", "timeScale": 6.0, "kvCapacityTokens": 40_000}
MODEL = {"id": "tiny", "source": "synthetic", "servedName": "tiny", "maxModelLen": 4096}
CONFIG: dict[str, Any] = {"model": MODEL, "virtualGpu": VIRTUAL, "shutdownTimeoutSeconds": 2}
QOE: dict[str, Any] = {
    "defaultClass": "reading",
    "classes": [
        {"name": "reading", "expectedTtftSeconds": 1.0, "pace": 4.8},
        # Twice the speed of this virtual GPU (41 ms a token), so that QoE is below 1.
        {"name": "hurried", "expectedTtftSeconds": 0.05, "pace": 50},
        {"name": "batch", "expectedTtftSeconds": 0, "pace": 0},
        {"name": "own", "expectedTtftSeconds": 1.0, "pace": 4.8, "clientExpectations": "Allow"},
    ],
}


@pytest.fixture(scope="session")
def engine() -> Iterator[EngineProcess]:
    with EngineProcess(CONFIG, qoe=QOE) as process:
        yield process


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=60.0) as opened:
        yield opened


@dataclass(slots=True)
class Stream:
    """One streamed completion, as its client received it."""

    delivery: list[float] = field(default_factory=list)
    """Seconds since the request was sent, one for each token."""
    tokens: list[int] = field(default_factory=list)
    prompt: list[int] = field(default_factory=list)


async def stream_completion(client: httpx.AsyncClient, engine: EngineProcess, **body: Any) -> Stream:
    """One streamed completion with token ids, timed at the client. `headers` may be among the keywords."""
    import json

    headers = body.pop("headers", {})
    request = {"model": "tiny", "stream": True, "return_token_ids": True, **body}
    seen = Stream()
    started = time.monotonic()
    async with client.stream("POST", f"{engine.url}/v1/completions", json=request, headers=headers) as reply:
        assert reply.status_code == 200, await reply.aread()
        async for line in reply.aiter_lines():
            if not line.startswith("data: {"):
                continue
            at = time.monotonic() - started
            for choice in json.loads(line[6:])["choices"]:
                seen.prompt = choice.get("prompt_token_ids") or seen.prompt
                seen.tokens += choice.get("token_ids") or []
                seen.delivery += [at] * len(choice.get("token_ids") or [])
    return seen


def repeated(prompt: Sequence[int], tokens: int) -> list[int]:
    """The virtual GPU's answer to a prompt without stop tokens."""
    return [prompt[position % len(prompt)] for position in range(tokens)]


def total(samples: Samples, name: str, **labels: str) -> float:
    """Sum of a metric's samples that carry `labels`."""
    return sum(
        value for (sample, have), value in samples.items() if sample == name and labels.items() <= dict(have).items()
    )


async def opened(engine: EngineProcess, before: Samples, requests: int) -> None:
    """Wait until the engine has so many more requests than `before`; fail when that takes long."""
    deadline = time.monotonic() + 20
    while (now := total(engine.metrics(), "andante_open_requests")) < total(before, "andante_open_requests") + requests:
        assert time.monotonic() < deadline, f"{now:.0f} open requests"
        await asyncio.sleep(0.05)


async def counted(engine: EngineProcess, before: Samples, requests: int) -> dict[str, float]:
    """The andante metrics' increase since `before`, summed over classes, once `requests` more have ended.

    A client sees the last byte before the server has counted the request, so this asks until the count is there; a
    count that never comes, or that is too high, fails.
    """
    deadline = time.monotonic() + 20
    while True:
        now = engine.metrics()
        ended = total(now, "andante_requests_total") - total(before, "andante_requests_total")
        if ended >= requests or time.monotonic() > deadline:
            break
        await asyncio.sleep(0.05)
    assert ended == requests
    names = {name for name, _ in now if name.startswith("andante_")}
    increase = {name: total(now, name) - total(before, name) for name in names}
    for label in ("outcome", "kind", "cause", "why", "effect"):
        for (name, labels), value in now.items():
            which = dict(labels).get(label)
            if which and name.startswith("andante_"):
                key = f"{name}:{which}"
                increase[key] = increase.get(key, 0.0) + value - before.get((name, labels), 0.0)
    return increase
