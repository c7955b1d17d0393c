"""The scheduling policy's machine code: compiled beside the engine's start, so that no request waits for it.

The first start on a node takes half a minute of one core for it; the code goes to the cache folder, where the next
start finds it. `start` begins in a process of its own while vLLM loads the model; importing `wait` in the engine core,
before the policy is imported, waits for that process, so that nothing is compiled twice.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Final

from andante.domain.compiled_folder import compiled_folder

LOCK_VARIABLE: Final = "ANDANTE_COMPILATION_LOCK"
"""Environment variable with the path of a file that is locked as long as the compilation runs."""
MODULES: Final = ("andante.domain.scheduling.qoe_policy", "andante_vllm.scheduler_columns")
"""Importing them compiles everything."""
_LAST: Final = Path(__file__).with_name("scheduler_columns.py")


def is_there(*, chosen: str) -> bool:
    """Whether an earlier start, or the image, left the code; `chosen` is $NUMBA_CACHE_DIR."""
    folder = compiled_folder(_LAST, compiler=version("numba"), chosen=chosen)
    return any(folder.glob("*.nbi"))


def start(lock: Path) -> subprocess.Popen[bytes]:
    """Compile in a process of its own, which holds `lock` until it ends, however it ends."""
    with lock.open("w") as file:
        # The child inherits the open file, and with it the lock.
        fcntl.flock(file, fcntl.LOCK_EX)
        os.environ[LOCK_VARIABLE] = str(lock)
        return subprocess.Popen([sys.executable, "-m", "andante_vllm.compilation"], pass_fds=(file.fileno(),))


def wait() -> float:
    """Wait for a compilation that `start` began; seconds waited. Returns at once where none runs."""
    path = os.environ.get(LOCK_VARIABLE)
    if not path:
        return 0.0
    started = time.monotonic()
    try:
        with Path(path).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:
        return 0.0  # the folder is gone: then the import compiles
    return time.monotonic() - started


def main() -> int:
    """Compile and say how long it took."""
    started = time.monotonic()
    for module in MODULES:
        __import__(module)
    kept = os.environ.get("NUMBA_CACHE_DIR", "")
    where = (
        f"kept in {kept or 'the folder of its sources'}"
        if is_there(chosen=kept)
        else "kept nowhere: no folder is writable"
    )
    print(f"andante-engine: scheduling policy compiled in {time.monotonic() - started:.1f} s, {where}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
