"""Finds the folder for the machine code of a source file, without importing the compiler, which takes seconds."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

_DOMAIN = Path(__file__).parent


def compiled_folder(source: Path, *, compiler: str, chosen: str) -> Path:
    """The folder for the functions of `source` (a Python file).

    The name depends on the compiler's version and on all sources that the functions may call; numba's own key is only
    the function's own file. The folder is beside the sources where machine code came with them (an image may contain
    it) or where `chosen` ($NUMBA_CACHE_DIR) is empty; otherwise it is in the chosen folder.
    """
    digest = hashlib.sha256(compiler.encode() + _domain_sources() + source.read_bytes()).hexdigest()[:16]
    beside = _DOMAIN / "__pycache__" / "compiled" / digest
    return beside if beside.is_dir() or not chosen else Path(chosen) / "andante" / digest


@cache
def _domain_sources() -> bytes:
    return b"".join(path.read_bytes() for path in sorted(_DOMAIN.rglob("*.py")))
