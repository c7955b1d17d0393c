"""Makes scripts that record their arguments, in place of programs that cannot run here or are not under test."""

from __future__ import annotations

from pathlib import Path


def program(folder: Path, name: str, *, prints: str = "", status: int = 0) -> Path:
    """Write a script that records its arguments and prints an answer; return the file with the records."""
    notes = folder / f"{name}.called"
    answer = "true" if status == 0 else "echo 'no daemon' >&2"
    script = f"#!/bin/sh\necho \"$@\" >> {notes}\nprintf '{prints}'\n{answer}\nexit {status}\n"
    (folder / name).write_text(script)
    (folder / name).chmod(0o755)
    return notes
