"""A client's connection ends between two replies, and the client is told in the head of the one before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from contract.server.meter_app import configure, serving

OLD_AT_ONCE = 1e-6
NEVER_OLD = 86_400.0


async def _says_its_port(request: Request) -> Response:
    assert request.client is not None
    return PlainTextResponse(str(request.client.port))


async def _stream(_: Request) -> Response:
    async def events() -> AsyncIterator[str]:
        for number in range(50):
            await asyncio.sleep(0)
            yield f"data: {number}\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(("age", "connections"), [(OLD_AT_ONCE, 5), (NEVER_OLD, 1), (0, 1)])
async def test_an_old_connection_ends_with_its_reply(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, method: str, age: float, connections: int
) -> None:
    configure(monkeypatch, tmp_path, connectionAgeSeconds=age)
    async with serving(_says_its_port) as url, httpx.AsyncClient() as client:
        replies = [await client.request(method, f"{url}/v1/completions") for _ in range(5)]
    assert len({reply.text for reply in replies}) == connections
    said = [reply.headers.get("connection") for reply in replies]
    assert said == (["close"] if connections == 5 else [None]) * 5


async def test_a_stream_on_an_old_connection_is_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    configure(monkeypatch, tmp_path, connectionAgeSeconds=OLD_AT_ONCE)
    async with serving(_stream) as url, httpx.AsyncClient() as client:
        reply = await client.post(f"{url}/v1/completions")
    assert reply.headers["connection"] == "close"
    assert reply.text == "".join(f"data: {number}\n\n" for number in range(50))


async def test_the_first_reply_to_pipelined_requests_says_that_it_is_the_last(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What was sent after it was not answered, as the protocol wants it: the client sends it again elsewhere."""
    configure(monkeypatch, tmp_path, connectionAgeSeconds=OLD_AT_ONCE)
    async with serving(_says_its_port) as url:
        reader, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
        writer.write(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
        seen = await reader.read()
        writer.close()
    assert seen.count(b"HTTP/1.1 200") == 1
    assert b"connection: close" in seen
