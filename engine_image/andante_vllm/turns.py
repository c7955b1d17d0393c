"""Large bodies are worked on one after the other, with rests, so that tokens are sent in between. No vLLM import."""

from __future__ import annotations

import asyncio
import time
from typing import Final

_REST: Final = 3.0
"""Times as long as the work before: large bodies get a quarter of the event loop at most, however many there are."""


class Turns:
    """A queue for work that holds up the event loop in one piece; first come, first served."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._next_at = 0.0

    async def take(self) -> None:
        """Returns when it is the caller's turn: it lasts until the caller waits for something, or ends."""
        await self._lock.acquire()
        try:
            await asyncio.sleep(max(0.0, self._next_at - time.monotonic()))
        except BaseException:
            self._lock.release()
            raise
        # Runs when the event loop comes round again: that is when the caller's work in one piece is over.
        asyncio.get_running_loop().call_soon(self._over, time.monotonic())

    def _over(self, began: float) -> None:
        now = time.monotonic()
        self._next_at = now + _REST * (now - began)
        self._lock.release()
