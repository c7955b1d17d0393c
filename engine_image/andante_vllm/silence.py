"""Comments in the silence of an event stream.

A request that waits for its first token, or for its return after a preemption, is silent for as long as it waits.
Gateways take a silent stream for dead (nginx after 60 s, HAProxy after 50) and cut it. A comment shows that the server
lives; readers of event streams skip it, and it counts as no token. No vLLM import.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

COMMENT: Final = b": waiting\n\n"
_EVENT_ENDS: Final = (b"\n\n", b"\r\n\r\n", b"\r\r")


class Silence:
    """Speaks when one stream has been silent for `seconds`; whoever writes to the stream sets the fields."""

    __slots__ = ("_speak", "_task", "busy", "last_at", "last_body")

    def __init__(self, seconds: float, *, speak: Callable[[bytes], Awaitable[None]]) -> None:
        """Begins at once, in the running event loop. `speak` writes to the stream and must not wait."""
        self.busy = False
        """Somebody is writing to the stream."""
        self.last_at = time.monotonic()
        """When something was last written."""
        self.last_body = b"\n\n"
        """What was last written: a comment must not come in the midst of an event."""
        self._speak = speak
        self._task = asyncio.get_running_loop().create_task(self._break_silence(seconds))

    def end(self) -> None:
        """No comment from now on."""
        self._task.cancel()

    async def _break_silence(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(self.last_at + seconds - time.monotonic())
            now = time.monotonic()
            if now - self.last_at >= seconds:
                if not self.busy and self.last_body.endswith(_EVENT_ENDS):
                    await self._speak(COMMENT)
                self.last_at = now
