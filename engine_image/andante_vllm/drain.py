"""Drains an API server: from the announcement, through its last answers, to the end of its engine core.

vLLM stops its engine core at once, and ends all streams when the engine core has ended. On a busy machine the API
server has not sent the last tokens by then, and clients get an error instead. So the drain writes all answers first.
Until then the server also serves new requests: clients that keep connections learn from the next reply that their
connection ends, and would otherwise get unnecessary errors. No vLLM import.
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
"""New requests are served for this share of the drain time: later requests would probably be cut."""


def run_folder(port: int) -> Path:
    """The folder in which the server at `port` keeps the files of its present start."""
    return Path(tempfile.gettempdir()) / f"andante-engine-{port}"


def announcement_file(port: int) -> Path:
    """The file that tells the server at `port` that it will get SIGTERM soon."""
    return run_folder(port) / "drain"


class Announcement:
    """Checks whether a file has announced the end, at most once a second."""

    def __init__(self, file: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._file = file
        self._clock = clock
        self._looked_at = float("-inf")
        self._made = False

    def made(self) -> bool:
        """True from the first check that finds the file."""
        if not self._made:
            now = self._clock()
            if now - self._looked_at >= _LOOK_EVERY_SECONDS:
                self._looked_at = now
                self._made = self._file.exists()
        return self._made


class Drain:
    """Knows whether the API server must shut down, and how many requests still wait for their answer."""

    def __init__(self) -> None:
        self.draining = False
        """Whether the server was told to shut down."""
        self._stopping = False
        self._serves_until = float("inf")
        self._answering = 0
        self._lock = threading.Lock()
        self._all_answered = threading.Event()
        self._all_answered.set()

    @contextlib.contextmanager
    def answering(self) -> Iterator[bool]:
        """Keep the drain waiting until the block ends; for the event loop's thread.

        False where the request comes too late: it would get an empty or incomplete answer.
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
        """Whether the engine core is being stopped: then no request can be served any more."""
        return self._stopping

    def begin(self, seconds: float | None, *, close_door: Callable[[], None] = lambda: None) -> float | None:
        """Wait until all requests are answered, at most `seconds`; return how many seconds are left.

        `close_door` is called once all are answered. It returns when no request can come any more; earlier requests
        are answered too. Does not wait without time, or in an event loop's thread, where no answer could go on.
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
            with self._lock:  # a request may have arrived since
                if not self._answering or not left:
                    self._stopping = True
                    return max(0.0, began + seconds - time.monotonic())


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
