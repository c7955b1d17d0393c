"""What one client may hold of the server: bodies, heads, half requests, replies that it does not read."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from andante_vllm import middleware
from contract.server.meter_app import configure, serving

MIB = 2**20
PATH = "/v1/completions"


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Why the server ended connections, one for each."""
    reasons: list[str] = []
    counting = middleware.MeterMetrics.connection_ended

    def connection_ended(self: Any, reason: str) -> None:
        reasons.append(reason)
        counting(self, reason)

    monkeypatch.setattr("andante_vllm.meter_metrics.MeterMetrics.connection_ended", connection_ended)
    return reasons


async def _counts(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


async def _raw(url: str, *parts: bytes) -> bytes:
    """Sends the parts, and reads until the server ends the connection."""
    reader, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
    for part in parts:
        writer.write(part)
        await asyncio.sleep(0)
    try:
        return await asyncio.wait_for(reader.read(), 30)
    finally:
        writer.close()


def _error(reply: bytes) -> dict[str, Any]:
    head, _, body = reply.partition(b"\r\n\r\n")
    assert b"connection: close" in head.lower()
    error: dict[str, Any] = json.loads(body)["error"]
    return error


@pytest.mark.parametrize("chunked", [False, True], ids=["by length", "while counting"])
async def test_a_body_above_the_limit_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ended: list[str], chunked: bool
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * MIB

    counted = configure(monkeypatch, tmp_path, maxBodyMib=2)
    async with serving(_counts) as url, httpx.AsyncClient() as client:
        refused = await client.post(url + PATH, content=chunks() if chunked else b"x" * (2 * MIB + 1))
        taken = await client.post(url + PATH, content=b"x" * (2 * MIB))
    assert (refused.status_code, refused.headers["connection"]) == (413, "close")
    assert refused.json()["error"]["message"] == "The request's body has more than the 2 MiB that this path takes."
    assert (taken.status_code, taken.text) == (200, str(2 * MIB))
    assert ended == ["large_body"]
    assert counted.outcomes == []


async def test_a_body_that_announces_itself_too_large_is_refused_before_it_comes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    configure(monkeypatch, tmp_path, maxBodyMib=2)
    asked: list[str] = []

    async def app(request: Request) -> Response:
        asked.append(request.url.path)
        return PlainTextResponse("")

    async with serving(app) as url:
        reply = await _raw(url, b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
    assert reply.startswith(b"HTTP/1.1 413")
    assert asked == []


@pytest.mark.parametrize(("values", "status"), [(1900, 200), (3000, 413)])
async def test_a_body_that_lists_too_many_values_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ended: list[str], values: int, status: int
) -> None:
    """Reading them holds up every stream; a text of that size does not."""
    configure(monkeypatch, tmp_path, maxBodyValues=2048)
    async with serving(_counts) as url, httpx.AsyncClient() as client:
        reply = await client.post(url + PATH, json={"prompt": list(range(values))})
    assert reply.status_code == status
    assert ended == (["large_body"] if status == 413 else [])


@pytest.mark.parametrize("path", ["/tokenize", "/detokenize"])
async def test_the_tokenizers_paths_take_less(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, path: str) -> None:
    configure(monkeypatch, tmp_path)
    async with serving(_counts) as url, httpx.AsyncClient() as client:
        statuses = [(await client.post(url + path, content=b"x" * size)).status_code for size in (128 * 1024, MIB)]
    assert statuses == [200, 413]


async def test_a_body_that_does_not_come_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ended: list[str]
) -> None:
    configure(monkeypatch, tmp_path, bodyTimeoutSeconds=0.2)
    async with serving(_counts) as url:
        reply = await _raw(url, b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
    assert reply.startswith(b"HTTP/1.1 408")
    assert _error(reply)["message"] == "The request's body did not come within 0.2 seconds."
    assert ended == ["late_body"]


@pytest.mark.parametrize("begin", [b"GET / HTTP/1.1\r\nHost: x\r\nX-Half: ", b"G"])
async def test_a_head_that_does_not_come_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ended: list[str], begin: bytes
) -> None:
    configure(monkeypatch, tmp_path, headTimeoutSeconds=0.2)
    async with serving(_counts) as url, httpx.AsyncClient() as client:
        await client.get(url)  # the meter is made with the first request
        reply = await _raw(url, begin)
    assert reply.startswith(b"HTTP/1.1 408")
    assert _error(reply)["message"] == "The request's headers did not come within 0.2 seconds."
    assert ended == ["late_head"]


async def test_line_ends_between_requests_keep_no_connection(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    configure(monkeypatch, tmp_path, headTimeoutSeconds=0.2)
    async with serving(_counts) as url:
        reader, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n0")
        writer.write(b"\r\n\r\n")
        assert await asyncio.wait_for(reader.read(), 60) == b""
        writer.close()


@pytest.mark.parametrize(
    "header",
    [
        b"X: " + b"x" * (66 * 1024),
        b"\r\n".join(b"X-%d: %s" % (number, b"x" * 1000) for number in range(70)),
        b"X: " + b"x" * (4 * MIB),
    ],
    ids=["one", "many", "huge"],
)
async def test_a_head_above_the_limit_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ended: list[str], header: bytes
) -> None:
    configure(monkeypatch, tmp_path)
    async with serving(_counts) as url, httpx.AsyncClient() as client:
        await client.get(url)
        reply = await _raw(url, b"GET / HTTP/1.1\r\nHost: x\r\n" + header + b"\r\n\r\n")
    assert reply.startswith(b"HTTP/1.1 431")
    assert _error(reply)["message"] == "The request's line and headers have more than 64 KiB."
    assert ended == ["large_head"]


async def test_what_is_no_http_gets_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ended: list[str]
) -> None:
    configure(monkeypatch, tmp_path)
    async with serving(_counts) as url, httpx.AsyncClient() as client:
        await client.get(url)
        reply = await _raw(url, b"\x16\x03\x01 this is TLS\r\n\r\n")
    assert reply.startswith(b"HTTP/1.1 400")
    assert _error(reply)["message"] == "This is no HTTP request that the server understands."
    assert ended == ["invalid"]


async def _endless(_: Request) -> Response:
    async def events() -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0)
            yield b"data: " + b"x" * 65_536 + b"\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


async def _large(_: Request) -> Response:
    return PlainTextResponse("x" * 32 * MIB)


@pytest.mark.parametrize("app", [_endless, _large], ids=["stream", "whole"])
async def test_a_reply_that_nobody_reads_ends(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ended: list[str], app: Any
) -> None:
    configure(monkeypatch, tmp_path, sendTimeoutSeconds=0.4, sendTimeoutDrainingSeconds=0.2)
    servers: list[Any] = []
    async with serving(app, made=servers.append) as url:
        never_reads = socket.create_connection((str(urlsplit(url).hostname), urlsplit(url).port or 0))
        never_reads.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        async with asyncio.timeout(30):
            while not ended:
                await asyncio.sleep(0.02)
            while servers[0].server_state.connections:
                await asyncio.sleep(0.02)
        never_reads.close()
    assert ended == ["unread"]


async def test_a_reader_who_is_slow_gets_the_whole_reply(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ended: list[str]
) -> None:
    configure(monkeypatch, tmp_path, sendTimeoutSeconds=2.0, sendTimeoutDrainingSeconds=2.0)
    async with serving(_large) as url:
        small = socket.socket()
        small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # so that the server sees the pace of the reader
        small.connect((str(urlsplit(url).hostname), urlsplit(url).port or 0))
        reader, writer = await asyncio.open_connection(sock=small)
        writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        read = 0
        for _ in range(60):  # three times as long as a reader may be silent
            read += len(await reader.read(MIB))
            await asyncio.sleep(0.1)
        while more := await reader.read(MIB):
            read += len(more)
        writer.close()
    assert read > 32 * MIB
    assert ended == []
