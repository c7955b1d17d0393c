"""A client's connection ends between two replies, and the client is told in the head of the one before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from andante_vllm.drain import Drain
from andante_vllm.web_server import close_to_newcomers
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


async def test_once_the_end_is_announced_each_connection_ends_with_its_reply(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    configure(monkeypatch, tmp_path, connectionAgeSeconds=NEVER_OLD)
    announcement = tmp_path / "drain"
    monkeypatch.setattr("andante_vllm.middleware.announcement_file", lambda port: announcement)
    async with serving(_says_its_port) as url, httpx.AsyncClient() as client:
        announcement.touch()
        replies = [await client.post(f"{url}/v1/completions") for _ in range(3)]
    assert [reply.headers.get("connection") for reply in replies] == ["close"] * 3
    assert [reply.status_code for reply in replies] == [200] * 3


@pytest.mark.parametrize("path", ["/v1/completions", "/tokenize"])
@pytest.mark.parametrize(("said", "read"), [({}, "1"), ({"Retry-After": "7"}, "7")])
async def test_a_503_says_when_to_ask_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, path: str, said: dict[str, str], read: str
) -> None:
    async def has_no_room(_: Request) -> Response:
        return PlainTextResponse("full", status_code=503, headers=said)

    configure(monkeypatch, tmp_path)
    async with serving(has_no_room) as url, httpx.AsyncClient() as client:
        reply = await client.post(url + path)
    assert reply.headers.get_list("retry-after") == [read]


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/embeddings", "/tokenize"])
async def test_what_comes_too_late_is_refused_on_every_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, path: str
) -> None:
    over = Drain()
    over.begin(0.0)
    monkeypatch.setattr("andante_vllm.engine_client_hooks.drain", over)
    configure(monkeypatch, tmp_path)
    async with serving(_says_its_port) as url, httpx.AsyncClient() as client:
        reply = await client.post(url + path)
    assert (reply.status_code, reply.headers["retry-after"], reply.headers["connection"]) == (503, "1", "close")


async def test_a_server_that_ends_closes_its_idle_connections_and_takes_no_new_ones(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    configure(monkeypatch, tmp_path)
    servers: list[Any] = []
    async with serving(_says_its_port, made=servers.append) as url:
        reader, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in await reader.readline()
        close_to_newcomers(servers[0])
        assert b"connection: close" not in await reader.read()  # it ends although nobody had said so
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
