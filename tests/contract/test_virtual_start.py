"""The engine core of a virtual GPU is a copy of the API server that shares none of its ports."""

from __future__ import annotations

from pathlib import Path

from hack.engine_process import EngineProcess


def _engine_core(pid: int) -> Path:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    (core,) = [child for child in children if Path(f"/proc/{child}/comm").read_text().startswith("VLLM::EngineCor")]
    return Path("/proc") / core


def _stack(process: Path) -> str:
    """Where the stack begins: a new program has it elsewhere, a copy where it was. It grows at its other end."""
    (stack,) = [line for line in (process / "maps").read_text().splitlines() if line.endswith("[stack]")]
    return stack.split()[0].partition("-")[2]


def test_the_engine_core_is_a_copy_of_the_api_server(engine: EngineProcess) -> None:
    assert _stack(_engine_core(engine.pid)) == _stack(Path(f"/proc/{engine.pid}"))


def test_only_the_api_server_holds_its_port(engine: EngineProcess) -> None:
    tables = [Path("/proc/net/tcp").read_text(), Path("/proc/net/tcp6").read_text()]
    rows = [line.split() for table in tables for line in table.splitlines()[1:]]
    inodes = {row[9] for row in rows if int(row[1].rpartition(":")[2], 16) == engine.port}
    assert inodes
    held = {str(file.readlink()) for file in (_engine_core(engine.pid) / "fd").iterdir()}
    assert not {f"socket:[{inode}]" for inode in inodes} & held
