"""The C library's allocator keeps few heaps, however many threads allocate."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from andante.runtime.heaps import MOST

THREADS = 8
_PROGRAM = f"""
import ctypes, sys, threading
from andante.runtime.heaps import limit_heaps
if sys.argv[1] == "limited":
    limit_heaps()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
together = threading.Barrier({THREADS})
def allocate():
    libc.malloc(1000)
    together.wait()
threads = [threading.Thread(target=allocate) for _ in range({THREADS})]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
libc.fflush(None)
"""


def _heaps(mode: str) -> int:
    done = subprocess.run([sys.executable, "-c", _PROGRAM, mode], capture_output=True, text=True, check=True)
    return done.stdout.count("<heap nr=")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone has a heap for each thread")
def test_threads_share_the_heaps() -> None:
    assert _heaps("as it is") > MOST
    assert _heaps("limited") <= MOST
