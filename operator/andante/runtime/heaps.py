"""Limits the heaps of the C library's allocator, as a heap for each thread would cost memory and bring no speed."""

from __future__ import annotations

import contextlib
import ctypes
from typing import Final

MOST: Final = 2
"""Heaps of the process."""
_M_ARENA_MAX: Final = -8  # malloc.h of glibc


def limit_heaps() -> None:
    """Let all threads share MOST heaps. Call this before the first thread starts; without glibc nothing happens.

    By default glibc gives each thread a heap of its own, up to eight for each core, and a heap keeps the room that one
    large answer of the API server once took. Python threads allocate one at a time, so they need no own heaps.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, MOST)
