"""Keeps tests that compare times away from work that keeps every core busy.

The folders of tests/e2e run side by side, each in a process of its own.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from hack.localcluster.settings import cache


@contextmanager
def busy() -> Iterator[None]:
    """While engines start or images are built. Waits while another process compares times."""
    with _held(fcntl.LOCK_SH):
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """While times are compared. Waits until no other process is in `busy`."""
    with _held(fcntl.LOCK_EX):
        yield


@contextmanager
def _held(kind: int) -> Iterator[None]:
    folder = cache() / "tests"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "machine-load.lock").open("a") as file:
        fcntl.flock(file, kind)
        yield
