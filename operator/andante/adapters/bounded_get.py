"""One GET of a text that is not trusted: bounded in bytes, in its head and, by whoever awaits it, in time.

llhttp parses (by httptools); an HTTP client for general use costs four times as much CPU, which at ten thousand pods a
tick is most of a core.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import httptools

MOST_HEAD_BYTES: Final = 64 * 1024
"""Before the body: status, headers, and interim answers (100 Continue)."""


class GetError(Exception):
    """There is no such text; the message says why."""


class BoundedGet(asyncio.Protocol):
    """Asks for `path` once connected; `take` gets the body in pieces, and may refuse it by raising what `done` then
    raises. `done` ends when the body is whole, or raises GetError. Whoever made the connection aborts it.
    """

    def __init__(self, *, host: str, path: str, take: Callable[[bytes], None]) -> None:
        self._request = (
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/plain\r\nAccept-Encoding: identity\r\n"
            "User-Agent: andante-operator\r\nConnection: close\r\n\r\n"
        ).encode()
        self._take = take
        self._parser = httptools.HttpResponseParser(self)
        self._head_bytes = 0
        self._in_body = self._has_length = False
        self._encoding = "identity"
        self._transport: asyncio.Transport | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def abort(self) -> None:
        """End the connection; nothing more is taken."""
        if self._transport is not None:
            self._transport.abort()

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        self._transport = transport  # type: ignore[assignment]  # of a connection, so that it can be written to
        self._transport.write(self._request)  # type: ignore[union-attr]

    def data_received(self, data: bytes) -> None:
        """Parse; what comes after the end is of no interest."""
        if self.done.done():
            return
        if not self._in_body:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(GetError(f"not HTTP: {error}"))
        if not self._in_body and self._head_bytes > MOST_HEAD_BYTES:
            self._fail(GetError(f"more than {MOST_HEAD_BYTES} bytes of headers"))

    def connection_lost(self, error: Exception | None) -> None:
        """The end of a body whose length nobody told, or too early."""
        if self._in_body and not self._has_length and error is None:
            self._end()
        else:
            self._fail(GetError(f"the connection ended before the answer did: {error or 'closed'}"))

    # What the parser calls. What is raised here, it would wrap.

    def on_header(self, name: bytes, value: bytes) -> None:
        """Two of them matter."""
        lower = name.lower()
        if lower == b"content-encoding":
            self._encoding = value.decode("latin-1").strip().lower()
        elif lower in (b"content-length", b"transfer-encoding"):
            self._has_length = True

    def on_headers_complete(self) -> None:
        """Whether the body is wanted."""
        status = self._parser.get_status_code()
        if status < 200:
            return
        if status != 200:
            self._fail(GetError(f"HTTP {status}"))
        elif self._encoding != "identity":
            # A few bytes may unpack to any number of them.
            self._fail(GetError(f"it came as {self._encoding[:20]!r}, which was not asked for"))
        else:
            self._in_body = True

    def on_body(self, piece: bytes) -> None:
        """Hand it on."""
        if self._in_body and not self.done.done():
            try:
                self._take(piece)
            except Exception as error:  # noqa: BLE001  whoever awaits gets it
                self._fail(error)

    def on_message_complete(self) -> None:
        """The end, unless another answer follows this one (100 Continue)."""
        if self._in_body:
            self._end()

    def _end(self) -> None:
        if not self.done.done():
            self.done.set_result(None)

    def _fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)
            self.done.exception()  # seen, also where nobody waits any more
