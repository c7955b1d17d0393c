"""What the hook tells of several `generate()` calls in one HTTP request: one reader, one text."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from vllm import SamplingParams

from andante.domain.request_meter import Outcome
from andante_vllm import engine_client_hooks as hooks
from contract.server.meter_app import Counted, configure, serving


class StandInEngine:
    """Writes `max_tokens` tokens, one an output, as the real one does."""

    vllm_config = SimpleNamespace(
        scheduler_config=SimpleNamespace(max_num_batched_tokens=2048),
        structured_outputs_config=SimpleNamespace(reasoning_parser=""),
    )

    async def generate(self, prompt: Any, params: SamplingParams, request_id: str) -> AsyncGenerator[Any, None]:
        for token in range(1, params.max_tokens + 1):
            await asyncio.sleep(0)  # others go on meanwhile
            reason = "length" if token == params.max_tokens else None
            output = SimpleNamespace(index=0, token_ids=[7], finish_reason=reason)
            yield SimpleNamespace(outputs=[output], num_cached_tokens=0)


generate = hooks.metered(StandInEngine.generate)


def asks(tokens: int) -> AsyncGenerator[Any, None]:
    return generate(StandInEngine(), {"prompt_token_ids": [1, 2]}, SamplingParams(max_tokens=tokens), "request")


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Counted:
    return configure(monkeypatch, tmp_path)


@pytest.mark.parametrize("at_once", [True, False])
async def test_what_is_written_one_after_the_other_is_one_text(counted: Counted, at_once: bool) -> None:
    async def recording(_: Request) -> Response:
        async def chunks() -> AsyncIterator[str]:
            language = asks(1)
            await anext(language)  # its only output; nobody closes the generator
            parts = [asks(4) for _ in range(3)] if at_once else (asks(4) for _ in range(3))
            for part in parts:
                async for _output in part:
                    yield f"data: {json.dumps({})}\n\n"

        return StreamingResponse(chunks(), media_type="text/event-stream")

    async with serving(recording) as url, httpx.AsyncClient() as client:
        await client.post(f"{url}/v1/audio/transcriptions")
    assert counted.outcomes == [Outcome.COMPLETED]
    assert [(score.tokens, score.qoe) for score in counted.scores] == [(1 + 3 * 4, 1.0)]


async def test_prompts_that_are_answered_side_by_side_have_one_reader(counted: Counted) -> None:
    async def whole(_: Request) -> Response:
        async def read(tokens: int) -> None:
            async for _output in asks(tokens):
                pass

        await asyncio.gather(*(read(tokens) for tokens in (2, 5, 3)))
        return PlainTextResponse("all")

    async with serving(whole) as url, httpx.AsyncClient() as client:
        await client.post(f"{url}/v1/completions")
    assert [score.tokens for score in counted.scores] == [5]


async def test_an_answer_in_the_background_is_not_counted_and_does_not_stay_open(counted: Counted) -> None:
    written = asyncio.Event()
    metrics_read = asyncio.Event()
    tasks: list[asyncio.Task[None]] = []

    async def background(request: Request) -> Response:
        if request.method == "GET":
            return PlainTextResponse("metrics")

        async def write() -> None:
            answer = asks(3)
            await anext(answer)
            written.set()
            await metrics_read.wait()

        return PlainTextResponse("queued", background=BackgroundTask(_start, tasks, write))

    async with serving(background) as url, httpx.AsyncClient() as client:
        await client.post(f"{url}/v1/responses")
        await written.wait()
        await client.get(f"{url}/metrics")
        metrics_read.set()
        await asyncio.gather(*tasks)
    assert counted.outcomes == []
    assert counted.open == [0]


async def _start(tasks: list[asyncio.Task[None]], work: Any) -> None:
    tasks.append(asyncio.create_task(work()))
