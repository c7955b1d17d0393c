"""Our server behind real gateways that keep connections: one user's failure, and a long wait, hurt nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from contract.server.meter_app import configure, serving
from gateways import GATEWAYS, gateway

COMPLETIONS = "/v1/completions"
WAIT_SECONDS = 70.0
"""Longer than a gateway waits for a silent reply: nginx 60 s, HAProxy 50 s."""


async def _fails_when_asked(request: Request) -> Response:
    if b"fail" in await request.body():
        raise RuntimeError("as it was asked")
    return PlainTextResponse("fine")


@pytest.mark.parametrize("name", GATEWAYS)
async def test_nobody_is_hurt_by_anothers_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    configure(monkeypatch, tmp_path)
    wrong: list[str] = []

    async def user(client: httpx.AsyncClient, number: int) -> None:
        for turn in range(30):
            asked, status = ("fail", 500) if (turn + number) % 5 == 0 else ("go", 200)
            reply = await client.post(COMPLETIONS, content=asked)
            if reply.status_code != status:
                wrong.append(f"{asked}: {reply.status_code} {reply.text[:200]}")

    async with serving(_fails_when_asked) as url:
        with gateway(name, urlsplit(url).netloc) as address:
            async with httpx.AsyncClient(base_url=address, timeout=60.0) as client:
                await asyncio.gather(*(user(client, number) for number in range(8)))
    assert wrong == []


async def _waits(_: Request) -> Response:
    async def events() -> AsyncIterator[str]:
        await asyncio.sleep(WAIT_SECONDS)
        yield "data: late\n\n"
        yield "data: [DONE]\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


async def test_a_stream_that_waits_survives_the_timeouts_of_gateways(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    configure(monkeypatch, tmp_path)
    async with serving(_waits) as url, httpx.AsyncClient(timeout=WAIT_SECONDS + 60) as client:
        with ExitStack() as running:
            addresses = [running.enter_context(gateway(name, urlsplit(url).netloc)) for name in GATEWAYS]
            replies = await asyncio.gather(*(client.post(at + COMPLETIONS) for at in addresses))
    for name, reply in zip(GATEWAYS, replies, strict=True):
        assert reply.status_code == 200, f"{name}: {reply.status_code} {reply.text}"
        assert reply.text.endswith("data: late\n\ndata: [DONE]\n\n"), name
        assert ": waiting" in reply.text
