"""The end of an API server's work: from the announcement, through its last answers, to the end of its engine core.

vLLM tells its engine core to stop at once, and ends all streams when that process has ended. On a busy machine the last
tokens are then still on their way through the API server, and whoever waits for them gets an error instead. So the
answers come first. Until they are written the server serves new requests as well: clients that keep connections learn
from each reply that theirs ends, and would get errors for nothing. No vLLM import.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

_LOOK_EVERY_SECONDS: Final = 1.0
_SERVED_SHARE: Final = 0.5
"""New requests are served for this share of the time to drain: what begins later would likely be cut."""


def run_folder(port: int) -> Path:
    """Where the server at `port` keeps the files of its present start."""
    return Path(tempfile.gettempdir()) / f"andante-engine-{port}"


def announcement_file(port: int) -> Path:
    """Whoever makes this file tells the server at `port` that it will soon be told to stop."""
    return run_folder(port) / "drain"


class Announcement:
    """Whether the end was announced by a file; looks for it once a second at most."""

    def __init__(self, file: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._file = file
        self._clock = clock
        self._looked_at = float("-inf")
        self._made = False

    def made(self) -> bool:
        """True from the first look on that finds the file."""
        if not self._made:
            now = self._clock()
            if now - self._looked_at >= _LOOK_EVERY_SECONDS:
                self._looked_at = now
                self._made = self._file.exists()
        return self._made


class Drain:
    """Whether the API server has been told to shut down, and how many must have their answer before it does."""

    def __init__(self) -> None:
        self.draining = False
        """The server was told to shut down."""
        self._stopping = False
        self._serves_until = float("inf")
        self._answering = 0
        self._lock = threading.Lock()
        self._all_answered = threading.Event()
        self._all_answered.set()

    @contextlib.contextmanager
    def answering(self) -> Iterator[bool]:
        """Holds the drain until the block ends; for the event loop's thread.

        False where the request comes too late: it would get an empty answer, or the beginning of one.
        """
        with self._lock:
            late = self._stopping or time.monotonic() >= self._serves_until
            if not late:
                self._answering += 1
                self._all_answered.clear()
        try:
            yield not late
        finally:
            if not late:
                with self._lock:
                    self._answering -= 1
                    if not self._answering:
                        self._all_answered.set()

    @property
    def stopping(self) -> bool:
        """The engine core is being stopped: nothing can be served any more."""
        return self._stopping

    def begin(self, seconds: float | None, *, close_door: Callable[[], None] = lambda: None) -> float | None:
        """Waits until all is answered, `seconds` at most; returns how many of them are left.

        `close_door` is called once all is answered, and returns when no request can come any more: whoever came before
        is answered too. Does not wait where there is no time for it, or in an event loop's thread, where no answer
        could go on.
        """
        began = time.monotonic()
        if not seconds or _in_event_loop():
            with self._lock:
                self.draining = self._stopping = True
            return seconds
        with self._lock:
            self._serves_until = began + seconds * _SERVED_SHARE
            self.draining = True
        self._all_answered.wait(seconds)
        close_door()
        while True:
            left = max(0.0, began + seconds - time.monotonic())
            self._all_answered.wait(left)
            with self._lock:  # a request may have come in between
                if not self._answering or not left:
                    self._stopping = True
                    return max(0.0, began + seconds - time.monotonic())


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
