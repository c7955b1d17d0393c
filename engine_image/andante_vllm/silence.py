"""Sends comments during the silence of an event stream.

A request that waits for its first token, or after a preemption, sends nothing. Gateways cut a silent stream (nginx
after 60 s, HAProxy after 50). A comment shows that the server works. Clients of event streams skip comments, and a
comment does not count as a token. No vLLM import.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

COMMENT: Final = b": waiting\n\n"
_EVENT_ENDS: Final = (b"\n\n", b"\r\n\r\n", b"\r\r")


class Silence:
    """Sends a comment when one stream was silent for `seconds`. The writer of the stream sets the fields."""

    __slots__ = ("_speak", "_task", "busy", "last_at", "last_body")

    def __init__(self, seconds: float, *, speak: Callable[[bytes], Awaitable[None]]) -> None:
        """Start at once, in the running event loop. `speak` writes to the stream and must not wait."""
        self.busy = False
        """Whether a write to the stream is running."""
        self.last_at = time.monotonic()
        """Time of the last write."""
        self.last_body = b"\n\n"
        """The last written bytes: a comment must not come within an event."""
        self._speak = speak
        self._task = asyncio.get_running_loop().create_task(self._break_silence(seconds))

    def end(self) -> None:
        """Send no comment from now on."""
        self._task.cancel()

    async def _break_silence(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(self.last_at + seconds - time.monotonic())
            now = time.monotonic()
            if now - self.last_at >= seconds:
                if not self.busy and self.last_body.endswith(_EVENT_ENDS):
                    await self._speak(COMMENT)
                self.last_at = now
