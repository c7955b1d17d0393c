"""The engine core waits for the process that compiles the policy, and for nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import andante.domain
import andante_vllm
from andante_vllm import compilation

DECORATORS = ("@compiled\n", "@compiled_with(")

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


def test_every_function_that_an_engine_runs_is_compiled_beforehand() -> None:
    # A pod's machine code is read-only: what is missing there is compiled at each start of each engine.
    folders = [Path(package.__path__[0]) for package in (andante.domain, andante_vllm)]
    sources = {
        source
        for folder in folders
        for source in folder.rglob("*.py")
        if any(decorator in source.read_text() for decorator in DECORATORS)
    }
    imports = f"import sys; [__import__(name) for name in {compilation.MODULES}]"
    show = "print(*(getattr(module, '__file__', '') for module in list(sys.modules.values())), sep='\\n')"
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    imported = subprocess.run(
        [sys.executable, "-c", f"{imports}; {show}"], env=environment, capture_output=True, text=True, check=True
    )
    assert len(sources) >= 5
    assert not {str(source) for source in sources} - set(imported.stdout.splitlines())
