"""Sends one HTTP reply to the connection, tracks its progress, and adds the middleware's own headers and errors.

A failed reply must announce the end of its connection (`Connection: close`). If a server only cuts the connection, a
client's pool may give the dead connection to the next request, which then fails for no reason. No vLLM import.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final, Protocol

from andante_vllm.silence import Silence

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]

SERVICE_UNAVAILABLE: Final = 503
RETRY_AFTER_SECONDS: Final = b"1"
"""Another replica may have room now, or this replica soon."""


def error_message(status: int, kind: str, text: str, field: str | None = None) -> tuple[list[Header], bytes]:
    """The headers and the body of an error in OpenAI's format, after which the connection is closed."""
    body = json.dumps({"error": {"message": text, "type": kind, "param": field, "code": status}}).encode()
    headers: list[Header] = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    return headers, body


_FIXED_BODY: Final = frozenset({b"content-length", b"content-encoding"})
"""With these headers a body must contain exactly the application's bytes."""

_monotonic = time.monotonic  # looked up once: the lookup would cost time for every token


class Watcher(Protocol):
    """Gets the bytes that the connection took."""

    def reply_headers(self) -> Iterable[Header]:
        """Additional headers of the reply."""
        ...

    def reply_began(self, status: int, *, stream: bool) -> None: ...

    def body_sent(self, at: float, body: bytes, last: bool) -> None: ...


class Reply:
    """The `send` of one request. Event streams get a header that asks gateways not to hold them back."""

    __slots__ = (
        "_closes", "_comment_after", "_count_end", "_flows", "_send", "_silence", "_watcher", "began", "complete",
        "refused", "taken_at",
    )  # fmt: skip

    def __init__(
        self,
        send: Send,
        *,
        closes: Callable[[], bool] = lambda: False,
        comment_after: float = 0.0,
        flows: Callable[[], bool] = lambda: True,
        count_end: Callable[[str], None] = lambda reason: None,
    ) -> None:
        """`closes` is called when the head is sent: whether the connection ends with this reply.

        `comment_after`: seconds of silence in an event stream after which a comment is sent, 0: never. `flows`: whether
        the connection takes bytes without a wait. `count_end`: called with the reason why the server ends a connection.
        """
        self._send = send
        self._closes = closes
        self._comment_after = comment_after
        self._flows = flows
        self._silence: Silence | None = None
        self._count_end = count_end
        self._watcher: Watcher | None = None
        self.began = False
        """The server was given the head of the reply."""
        self.complete = False
        """The connection took the last byte."""
        self.taken_at: float | None = None
        """When the connection last took a part of the body, `time.monotonic()` seconds."""
        self.refused = False
        """Whether the reply was our error, so that the application's reply is dropped."""

    def watch(self, watcher: Watcher) -> None:
        """Report to `watcher` from now on."""
        self._watcher = watcher

    @property
    def broken(self) -> bool:
        """Whether the sent part cannot be completed: the client must see that the connection ends."""
        return self.began and not self.complete

    async def send(self, message: Message) -> None:
        """Pass an ASGI message on."""
        if self.refused:
            return
        if message["type"] == "http.response.body":
            silence = self._silence
            if silence is not None:
                silence.busy = True
            await self._send(message)
            last = not message.get("more_body", False)
            at = _monotonic()
            body = message.get("body", b"")
            if self._watcher is not None:
                self._watcher.body_sent(at, body, last)
            self.complete = last
            self.taken_at = at
            if silence is not None:
                silence.busy = False
                silence.last_at = at
                if body:
                    silence.last_body = body
        elif message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            stream = _is_event_stream(headers)
            names = {name.lower() for name, _ in headers}
            if stream and b"x-accel-buffering" not in names:
                headers.append((b"x-accel-buffering", b"no"))
            if message["status"] == SERVICE_UNAVAILABLE and b"retry-after" not in names:
                headers.append((b"retry-after", RETRY_AFTER_SECONDS))
            if b"connection" not in names and self._closes():
                headers.append((b"connection", b"close"))
            if self._watcher is not None:
                headers.extend(self._watcher.reply_headers())
            self.began = True  # also when this fails: the head may have been sent
            await self._send({**message, "headers": headers})
            if stream and self._comment_after and not names & _FIXED_BODY:
                self._silence = Silence(self._comment_after, speak=self._comment)
            if self._watcher is not None:
                self._watcher.reply_began(message["status"], stream=stream)
        else:
            await self._send(message)

    async def _comment(self, comment: bytes) -> None:
        if not self.complete and self._flows():
            await self._send({"type": "http.response.body", "body": comment, "more_body": True})

    def end(self) -> None:
        """Send nothing from now on."""
        if self._silence is not None:
            self._silence.end()

    async def refuse(
        self,
        status: int,
        kind: str,
        text: str,
        *,
        field: str | None = None,
        reason: str | None = None,
        before_end: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Send the whole reply: an error in OpenAI's format, after which the connection is closed.

        `field`: the wrong header or body field. `reason`: the counted reason for the end of the connection.
        `before_end` is awaited after the reply, before the connection is closed. Later messages of the application are
        dropped. If a reply has already begun, nothing is sent, and the connection is cut when the request ends.
        """
        if not self.began:
            headers, body = error_message(status, kind, text, field)
            await self.send({"type": "http.response.start", "status": status, "headers": headers})
            await self.send({"type": "http.response.body", "body": body, "more_body": before_end is not None})
            if before_end is not None:
                await before_end()
                await self.send({"type": "http.response.body", "body": b""})
            if reason is not None:
                self._count_end(reason)
        self.refused = True


def _is_event_stream(headers: Iterable[Header]) -> bool:
    return any(name.lower() == b"content-type" and value.startswith(b"text/event-stream") for name, value in headers)
