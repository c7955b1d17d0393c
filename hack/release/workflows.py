"""Checks the workflow files with actionlint, and checks that each action is pinned to a commit."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from hack import go_programs
from hack.localcluster.errors import ClusterError
from hack.localcluster.settings import REPOSITORY

FOLDER = REPOSITORY / ".github" / "workflows"
_USES = re.compile(r"^\s*-?\s*uses:\s*(\S+)", re.MULTILINE)
_PINNED = re.compile(r"[^@\s]+@[0-9a-f]{40}")


def unpinned(text: str) -> list[str]:
    """The actions of a workflow that name a branch or a tag, whose code can change."""
    return [action for action in _USES.findall(text) if not action.startswith("./") and not _PINNED.fullmatch(action)]


def problems(files: list[Path]) -> str:
    """The faults of `files`, one a line; empty where there are none. Raises ClusterError."""
    program = go_programs.ensure("actionlint")
    done = subprocess.run([str(program), "-oneline", *map(str, files)], capture_output=True, text=True, check=False)
    if done.returncode not in {0, 1}:
        raise ClusterError(f"actionlint: {done.stderr.strip()[-800:]}")
    loose = [f"{file}: {action} is not pinned by a commit" for file in files for action in unpinned(file.read_text())]
    return "\n".join([*done.stdout.splitlines(), *loose])


def main() -> int:
    """Return 0 where no workflow has a fault."""
    try:
        found = problems(sorted(FOLDER.glob("*.yaml")))
    except ClusterError as error:
        found = str(error)
    if found:
        print(found, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
