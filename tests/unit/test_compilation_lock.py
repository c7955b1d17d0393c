"""The engine core waits for the process that compiles the policy, and for nothing else."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from andante_vllm import compilation

HOLD = """
import fcntl, sys
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.readline()
"""


def test_nothing_is_waited_for_where_nothing_was_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(compilation.LOCK_VARIABLE, raising=False)
    assert compilation.wait() == 0.0


def test_the_wait_ends_when_the_compiling_process_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "locked\n"
        monkeypatch.setenv(compilation.LOCK_VARIABLE, str(lock))
        waiting = threading.Thread(target=compilation.wait)
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
        holder.kill()  # a compilation that dies frees the engine, too
        waiting.join(20)
        assert not waiting.is_alive()


def test_a_lock_whose_folder_is_gone_holds_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(compilation.LOCK_VARIABLE, str(tmp_path / "gone" / "lock"))
    assert compilation.wait() == 0.0
