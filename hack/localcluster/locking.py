"""Lets one process at a time work on a folder: all runs on the machine share the cache."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from hack.localcluster.progress import say


@contextlib.contextmanager
def exclusive(folder: Path, what: str) -> Iterator[None]:
    """Hold the lock of `folder`, which is created if missing. A process that waits prints `what` and who holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+") as file:
        said = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not said:
                    file.seek(0)
                    say(f"waiting for another run (pid {file.read().strip() or 'unknown'}) that works on {what}")
                    said = True
                time.sleep(0.5)
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        yield
