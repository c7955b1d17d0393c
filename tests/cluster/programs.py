"""Recording scripts in place of programs that cannot run here, or whose work is not what is tested."""

from __future__ import annotations

from pathlib import Path


def program(folder: Path, name: str, *, prints: str = "", status: int = 0) -> Path:
    """A script that notes its arguments and answers; the file with the notes."""
    notes = folder / f"{name}.called"
    answer = "true" if status == 0 else "echo 'no daemon' >&2"
    script = f"#!/bin/sh\necho \"$@\" >> {notes}\nprintf '{prints}'\n{answer}\nexit {status}\n"
    (folder / name).write_text(script)
    (folder / name).chmod(0o755)
    return notes
