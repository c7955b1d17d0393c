"""Runs a small HTTP server that streams completions like vLLM, and misbehaves as a test wants. Uses real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Received:
    """One request to the server."""

    headers: dict[str, str]
    body: dict[str, Any]


class Reply:
    """One HTTP/1.1 response, to which a handler writes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def client_gone(self) -> None:
        """Return when the client has closed the connection."""
        await self._reader.read()

    async def error(self, status: int, text: str) -> None:
        payload = text.encode()
        self._writer.write(b"HTTP/1.1 %d Error\r\ncontent-length: %d\r\n\r\n%b" % (status, len(payload), payload))
        await self._writer.drain()

    def begin(self) -> None:
        self._writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")

    async def event(self, data: str) -> None:
        payload = f"data: {data}\n\n".encode()
        self._writer.write(b"%x\r\n%b\r\n" % (len(payload), payload))
        await self._writer.drain()

    async def tokens(self, count: int, *, text: str = "", finish: str | None = None) -> None:
        choice = {"index": 0, "text": text, "finish_reason": finish, "token_ids": [7] * count}
        await self.event(json.dumps({"id": "cmpl-1", "object": "text_completion", "choices": [choice]}))

    async def end(self) -> None:
        await self.event("[DONE]")
        self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()

    async def raw(self, payload: bytes) -> None:
        """One HTTP chunk of these bytes, whatever they are."""
        self._writer.write(b"%x\r\n%b\r\n" % (len(payload), payload))
        await self._writer.drain()

    def break_off(self) -> None:
        self._writer.transport.abort()


Handler = Callable[[dict[str, Any], Reply], Awaitable[None]]


@dataclass(slots=True)
class SSEServer:
    """A running server."""

    url: str
    received: list[Received] = field(default_factory=list)


async def answer(body: dict[str, Any], reply: Reply) -> None:
    """Send all requested tokens at once, one per event."""
    reply.begin()
    wanted = body["max_tokens"]
    for i in range(wanted):
        await reply.tokens(1, finish="length" if i == wanted - 1 else None)
    await reply.end()


@contextlib.asynccontextmanager
async def serving(handler: Handler = answer) -> AsyncIterator[SSEServer]:
    """Runs a server on a free port; `handler` answers POST /v1/completions."""
    state = SSEServer(url="")

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
            body = json.loads(await reader.readexactly(int(headers.get("content-length", "0"))) or b"{}")
            reply = Reply(reader, writer)
            if head[0].startswith("GET /v1/models "):
                payload = json.dumps({"data": [{"id": "served"}]}).encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(payload), payload))
            else:
                state.received.append(Received(headers, body))
                await handler(body, reply)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    server = await asyncio.start_server(connection, "127.0.0.1", 0)
    state.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield state
