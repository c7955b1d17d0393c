"""Sends one GET for a text that is not trusted. Head and body have a limit in bytes; the caller sets the timeout.

llhttp parses the answer (through httptools). A general HTTP client costs four times as much CPU: at 10,000 pods a tick
this is most of a core.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import httptools

MOST_HEAD_BYTES: Final = 64 * 1024
"""Limit of the bytes before the body: status, headers, and interim answers (100 Continue)."""


class GetError(Exception):
    """The text could not be read; the message says why."""


class BoundedGet(asyncio.Protocol):
    """Asks for `path` once connected. `take` gets the body in pieces and may raise an error to refuse the body; `done`
    then raises the same error. `done` ends when the body is complete, or raises GetError. The caller that opened the
    connection aborts it.
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
        """End the connection; take no more data."""
        if self._transport is not None:
            self._transport.abort()

    # The transport calls these methods.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request."""
        self._transport = transport  # type: ignore[assignment]  # of a connection, so that it can be written to
        self._transport.write(self._request)  # type: ignore[union-attr]

    def data_received(self, data: bytes) -> None:
        """Parse; ignore data after the end of the answer."""
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
        """End a body that came without a length, or report that the connection closed too early."""
        if self._in_body and not self._has_length and error is None:
            self._end()
        else:
            self._fail(GetError(f"the connection ended before the answer did: {error or 'closed'}"))

    # The parser calls these methods. The parser would wrap an error that they raise.

    def on_header(self, name: bytes, value: bytes) -> None:
        """Read the two headers that matter."""
        lower = name.lower()
        if lower == b"content-encoding":
            self._encoding = value.decode("latin-1").strip().lower()
        elif lower in (b"content-length", b"transfer-encoding"):
            self._has_length = True

    def on_headers_complete(self) -> None:
        """Decide whether the body is wanted."""
        status = self._parser.get_status_code()
        if status < 200:
            return
        if status != 200:
            self._fail(GetError(f"HTTP {status}"))
        elif self._encoding != "identity":
            # A few compressed bytes may unpack to any number of bytes.
            self._fail(GetError(f"it came as {self._encoding[:20]!r}, which was not asked for"))
        else:
            self._in_body = True

    def on_body(self, piece: bytes) -> None:
        """Pass the piece to `take`."""
        if self._in_body and not self.done.done():
            try:
                self._take(piece)
            except Exception as error:  # noqa: BLE001  whoever awaits gets it
                self._fail(error)

    def on_message_complete(self) -> None:
        """End, unless another answer follows this one (100 Continue)."""
        if self._in_body:
            self._end()

    def _end(self) -> None:
        if not self.done.done():
            self.done.set_result(None)

    def _fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)
            self.done.exception()  # mark the error as seen, even if no caller waits any more
