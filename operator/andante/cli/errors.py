"""Reports bad input from the command line (exit status 2, with the field or line), and writes the commands' files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class InputError(Exception):
    """The user's input cannot be used; the message says which field or line, why, and what to do."""


def check_output(option: str, path: Path | None) -> None:
    """Raise InputError unless `path` (None: not wanted) can be written: check before long work, not after it."""
    if path is None:
        return
    if path.is_dir():
        raise InputError(f"{option}: {path} is a directory; name a file")
    if not path.parent.is_dir():
        raise InputError(f"{option}: there is no directory {path.parent}; make it first")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise InputError(f"{option}: {path} cannot be written")


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write `document`; a figure that is not finite is a defect, not JSON."""
    path.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", encoding="utf-8")
