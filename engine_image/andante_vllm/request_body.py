"""Receives the body of one request, with limits for size and time. No vLLM import."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from andante_vllm.json_encoding import JSONEncoding
from andante_vllm.json_weight import JSONWeight
from andante_vllm.replies import Header, Message, Reply
from andante_vllm.turns import Turns

Receive = Callable[[], Awaitable[Message]]

_SWALLOW_SECONDS: Final = 2.0
_SMALL_BYTES: Final = 64 * 1024
_SMALL_VALUES: Final = 4096
"""Most values of a body that need not wait for its turn: about a millisecond of work."""
_DISCONNECT: Final = "http.disconnect"


class RequestBody:
    """The `receive` of one request. A body that is too large, too slow or not text is answered with an error, and the
    application does not get it.
    """

    __slots__ = (
        "_bytes", "_encoding", "_late_at", "_max_bytes", "_max_values", "_over", "_receive", "_reply", "_seconds",
        "_weight", "_weight_factor",
    )  # fmt: skip

    def __init__(
        self,
        receive: Receive,
        reply: Reply,
        *,
        max_bytes: int,
        max_values: int,
        seconds: float,
        weight_factor: int,
    ) -> None:
        """`max_bytes` and `seconds`: limits for the whole body. `max_values`: largest weight of a JSON document
        (`JSONWeight`) times `weight_factor`; with factor 0 the body is not a JSON document.

        The application parses the body in the thread that sends all tokens, and values take longer than texts.
        """
        self._receive = receive
        self._reply = reply
        self._max_bytes = max_bytes
        self._seconds = seconds
        self._late_at = time.monotonic() + seconds
        self._max_values = max_values
        self._bytes = 0
        self._weight = JSONWeight()
        self._encoding = JSONEncoding()
        self._weight_factor = weight_factor
        self._over = False

    async def refused(self, headers: Iterable[Header]) -> bool:
        """Whether the body is too large by its `Content-Length`; if so, the request was answered."""
        length = next((value for name, value in headers if name == b"content-length"), b"0")
        if not (length.isdigit() and int(length) > self._max_bytes):
            return False
        await self._refuse_large()
        return True

    async def receive(self) -> Message:
        """The next message; after a refusal the application sees that the client has left."""
        if self._over:
            return await self._receive()
        try:
            async with asyncio.timeout(self._late_at - time.monotonic()):
                message = await self._receive()
        except TimeoutError:
            text = f"The request's body did not come within {self._seconds:g} seconds."
            await self._reply.refuse(408, "RequestTimeoutError", text, reason="late_body")
            return {"type": _DISCONNECT}
        if message["type"] == "http.request":
            body = message.get("body", b"")
            self._bytes += len(body)
            if self._weight_factor:
                self._weight.add(body)
                self._encoding.add(body)
            self._over = not message.get("more_body", False)
            if self._bytes > self._max_bytes or self._values > self._max_values:
                await self._refuse_large()
                return {"type": _DISCONNECT}
            problem = self._encoding.problem() if self._over else None
            if problem is not None:
                text = f"The request's body cannot be read: {problem}."
                await self._reply.refuse(400, "BadRequestError", text)
                return {"type": _DISCONNECT}
        else:
            self._over = True
        return message

    async def wait_turn(self, turns: Turns) -> None:
        """Return when the application may get the body; for a small body at once."""
        if self._bytes > _SMALL_BYTES or self._values > _SMALL_VALUES:
            await turns.take()

    @property
    def _values(self) -> int:
        return self._weight.total * self._weight_factor

    async def _refuse_large(self) -> None:
        text = f"The request's body has more than the {_size(self._max_bytes)} that this path takes."
        if self._values > self._max_values:
            text = f"The request's body lists more than {self._max_values} values."
        await self._reply.refuse(413, "BadRequestError", text, reason="large_body", before_end=self._swallow)

    async def _swallow(self) -> None:
        """Read on for a moment: if a socket is closed while bytes arrive, the client loses the answer."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SWALLOW_SECONDS):
                while not self._over:
                    message = await self._receive()
                    self._over = message["type"] == _DISCONNECT or not message.get("more_body", False)


def _size(count: int) -> str:
    return f"{count / 2**20:g} MiB" if count >= 2**20 else f"{count / 2**10:g} KiB"
