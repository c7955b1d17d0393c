"""Extends uvicorn's HTTP protocol by a connection age and by limits for each client: heads, time, unread replies.

The middleware asks the connection object, not a table by address: a port may be used again, and requests may be
pipelined. uvicorn's fast parser limits neither the size of a head nor its time, and a reply that the client does not
read stays without end. No vLLM import.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from andante_vllm.connection_age import ConnectionAge
from andante_vllm.replies import error_message
from andante_vllm.settings import http_config
from andante_vllm.web_server import EXTENSION

_MIN_READ: Final = 48 * 1024
"""Bytes that a client must read within the time limit: the distance between the marks at which a writer must wait and
may go on."""
_LINGER_SECONDS: Final = 2.0
_BAD: Final = (400, "BadRequestError", "This is no HTTP request that the server understands.", "invalid")


class _HeadTooLargeError(Exception):
    """Stops the parser's work on a request."""


class Connection(HttpToolsProtocol):
    """One connection of a client."""

    is_draining: Callable[[], bool] = staticmethod(lambda: False)
    count_end: Callable[[str], None] = staticmethod(lambda reason: None)
    """Called with the reason why the server ended a connection."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.age = ConnectionAge(time.monotonic())
        self.ended_unread = False
        """Whether the connection was ended because the client did not read."""
        self._limits = http_config()
        self._refusal = _BAD
        self._refused = False
        self._in_head = self._head_is_new = False
        self._head_bytes = 0
        self._blocked_at = 0.0
        self._unsent = 0
        self._read_timer: asyncio.TimerHandle | None = None
        # A connection without any data counts as idle from its start.
        self._head_timer: asyncio.TimerHandle | None = self.loop.call_later(self.timeout_keep_alive, self._head_late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._set_head_timer(None)
        if self._read_timer is not None:
            self._read_timer.cancel()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self) -> None:
        self._set_head_timer(None)
        super().handle_websocket_upgrade()

    # Incoming data

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        super().data_received(data)
        if self._refused or self.transport.is_closing():
            return
        if self._in_head:
            if self._head_is_new:
                self._head_is_new = False
                self._set_head_timer(self._limits.head_timeout_seconds)
            else:
                self._head_bytes += len(data)
                if self._head_bytes > self._limits.max_head_kib * 1024:
                    self._refuse(*self._head_too_large())
        elif self._answering:
            if self._head_timer is not None:
                self._set_head_timer(None)
        elif self._head_timer is None:  # line ends between two requests: uvicorn would wait without end
            self._set_head_timer(self._limits.head_timeout_seconds)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {EXTENSION: self}
        self._in_head = self._head_is_new = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        self._in_head = False
        if len(self.url) + sum(len(n) + len(v) for n, v in self.headers) > self._limits.max_head_kib * 1024:
            self._refusal = self._head_too_large()
            raise _HeadTooLargeError
        super().on_headers_complete()

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _head_too_large(self) -> tuple[int, str, str, str]:
        text = f"The request's line and headers have more than {self._limits.max_head_kib} KiB."
        return 431, "BadRequestError", text, "large_head"

    def _set_head_timer(self, seconds: float | None) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
        self._head_timer = None if seconds is None else self.loop.call_later(seconds, self._head_late)

    def _head_late(self) -> None:
        self._head_timer = None
        if self._answering:  # the next request must wait
            self._set_head_timer(self._limits.head_timeout_seconds)
        elif self._in_head:
            text = f"The request's headers did not come within {self._limits.head_timeout_seconds:g} seconds."
            self._refuse(408, "RequestTimeoutError", text, "late_head")
        else:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn where the parser failed."""
        self._refuse(*self._refusal)

    def _refuse(self, status: int, kind: str, text: str, reason: str) -> None:
        """Answer data that never became a request, end the connection, and read no more from it."""
        self._refused = True
        self.count_end(reason)
        if self._answering:  # our text must not get into that reply
            self.transport.close()
            return
        head, body = error_message(status, kind, text)
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode(), *(b": ".join(header) for header in head)]
        self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        # If a socket is closed while bytes arrive, the client loses the answer: end our side first.
        self.transport.write_eof()
        self._head_timer = self.loop.call_later(_LINGER_SECONDS, self.transport.abort)

    # Outgoing data

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.get_write_buffer_size() > 0:
            self._watch_reader()

    def _watch_reader(self) -> None:
        if self._read_timer is None:
            self._blocked_at = time.monotonic()
            self._unsent = self.transport.get_write_buffer_size()
            self._look_again()

    def _look_again(self) -> None:
        limits = self._limits
        period = min(limits.send_timeout_seconds, limits.send_timeout_draining_seconds)
        self._read_timer = self.loop.call_later(period, self._look_at_reader)

    def _look_at_reader(self) -> None:
        self._read_timer = None
        unsent = self.transport.get_write_buffer_size()
        if not unsent or (self._answering and not self.flow.write_paused):
            return
        if self._unsent - unsent >= _MIN_READ:
            self._watch_reader()
        elif self.is_draining() or time.monotonic() - self._blocked_at >= self._limits.send_timeout_seconds:
            self.ended_unread = True
            self.count_end("unread")
            self.transport.abort()
        else:
            self._look_again()
