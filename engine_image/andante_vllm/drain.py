"""The end of an API server's work: answers that were begun are written before the engine core is told to stop.

vLLM tells its engine core at once, and ends all streams when that process has ended. On a busy machine the last tokens
are then still on their way through the API server, and whoever waits for them gets an error instead. No vLLM import.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator


class Drain:
    """Whether the API server has been told to shut down, and how many must have their answer before it does."""

    def __init__(self) -> None:
        self.draining = False
        self._answering = 0
        self._all_answered = threading.Event()
        self._all_answered.set()

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """Holds the drain until the block ends; for the event loop's thread."""
        self._answering += 1
        self._all_answered.clear()
        try:
            yield
        finally:
            self._answering -= 1
            if not self._answering:
                self._all_answered.set()

    def begin(self, seconds: float | None) -> float | None:
        """Waits until all is answered, `seconds` at most; returns how many of them are left.

        Does not wait where there is no time for it, or in an event loop's thread, where no answer could go on.
        """
        self.draining = True
        if not seconds or _in_event_loop():
            return seconds
        began = time.monotonic()
        self._all_answered.wait(seconds)
        return max(0.0, seconds - (time.monotonic() - began))


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
