"""Handles large bodies one after the other, with pauses in which tokens are sent. No vLLM import."""

from __future__ import annotations

import asyncio
import time
from typing import Final

_REST: Final = 3.0
"""Length of a pause in times of the work before it: large bodies get at most a quarter of the event loop's time."""


class Turns:
    """A queue for work that blocks the event loop; first come, first served."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._next_at = 0.0

    async def take(self) -> None:
        """Return when it is the caller's turn. The turn lasts until the caller awaits again, or ends."""
        await self._lock.acquire()
        try:
            await asyncio.sleep(max(0.0, self._next_at - time.monotonic()))
        except BaseException:
            self._lock.release()
            raise
        # This runs in the event loop's next round, which is when the caller's blocking work is over.
        asyncio.get_running_loop().call_soon(self._over, time.monotonic())

    def _over(self, began: float) -> None:
        now = time.monotonic()
        self._next_at = now + _REST * (now - began)
        self._lock.release()
