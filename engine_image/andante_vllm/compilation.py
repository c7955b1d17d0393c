"""Compiles the scheduling policy beside the engine's start, so that no request waits for the compilation.

The first start on a node takes half a minute of one core for this. The machine code is kept in the cache folder for the
next start. `start` compiles in a separate process while vLLM loads the model. In the engine core, `wait` waits for that
process before the policy is imported, so that nothing is compiled twice.
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
"""Environment variable with the path of a file that is locked while the compilation runs."""
MODULES: Final = (
    "andante.domain.scheduling.latency",
    "andante.domain.scheduling.qoe_policy",
    "andante_vllm.scheduler_columns",
)
"""An import of these modules compiles everything."""
_LAST: Final = Path(__file__).with_name("scheduler_columns.py")


def is_there(*, chosen: str) -> bool:
    """Whether machine code exists, from an earlier start or from the image; `chosen` is $NUMBA_CACHE_DIR."""
    folder = compiled_folder(_LAST, compiler=version("numba"), chosen=chosen)
    return any(folder.glob("*.nbi"))


def start(lock: Path) -> subprocess.Popen[bytes]:
    """Compile in a separate process, which holds `lock` until it ends for any reason."""
    with lock.open("w") as file:
        # The child inherits the open file and so the lock.
        fcntl.flock(file, fcntl.LOCK_EX)
        os.environ[LOCK_VARIABLE] = str(lock)
        return subprocess.Popen([sys.executable, "-m", "andante_vllm.compilation"], pass_fds=(file.fileno(),))


def wait() -> float:
    """Wait for a compilation that `start` began; return the seconds waited. Returns at once where none runs."""
    path = os.environ.get(LOCK_VARIABLE)
    if not path:
        return 0.0
    started = time.monotonic()
    try:
        with Path(path).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:
        return 0.0  # the folder is gone: the import compiles
    return time.monotonic() - started


def main() -> int:
    """Compile and print how long it took."""
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
