"""Reads the forge's workflow files with actionlint, and checks that every action is pinned by its commit."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from hack.localcluster.errors import ClusterError
from hack.localcluster.settings import REPOSITORY
from hack.release import tools

FOLDER = REPOSITORY / ".github" / "workflows"
_USES = re.compile(r"^\s*-?\s*uses:\s*(\S+)", re.MULTILINE)
_PINNED = re.compile(r"[^@\s]+@[0-9a-f]{40}")


def unpinned(text: str) -> list[str]:
    """Actions of a workflow that name a branch or a tag, which can come to mean other code."""
    return [action for action in _USES.findall(text) if not action.startswith("./") and not _PINNED.fullmatch(action)]


def problems(files: list[Path]) -> str:
    """What is wrong with `files`, a line for each thing; empty when nothing is. Raises ClusterError."""
    program = tools.ensure("actionlint")
    done = subprocess.run([str(program), "-oneline", *map(str, files)], capture_output=True, text=True, check=False)
    if done.returncode not in {0, 1}:
        raise ClusterError(f"actionlint: {done.stderr.strip()[-800:]}")
    loose = [f"{file}: {action} is not pinned by a commit" for file in files for action in unpinned(file.read_text())]
    return "\n".join([*done.stdout.splitlines(), *loose])


def main() -> int:
    """0 when every workflow is as it should be."""
    try:
        found = problems(sorted(FOLDER.glob("*.yaml")))
    except ClusterError as error:
        found = str(error)
    if found:
        print(found, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
