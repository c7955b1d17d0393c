"""Finds the folder for the machine code of a source file, without importing the compiler, which takes seconds."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

_DOMAIN = Path(__file__).parent
_CALLED = ("*.py", "scheduling/**/*.py")
"""Sources that compiled functions may call. An engine pod has these of `domain`, and not all others: the name must be
the same there, or each start would compile what came with the machine's environment or the image."""


def compiled_folder(source: Path, *folders: Path, compiler: str, chosen: str) -> Path:
    """The folder for the functions of `source` (a Python file), which may call those in `folders` and in the domain.

    The name depends on the compiler's version and on all sources that the functions may call; numba's own key is only
    the function's own file. The folder is beside the sources where machine code came with them (an image may contain
    it) or where `chosen` ($NUMBA_CACHE_DIR) is empty; otherwise it is in the chosen folder.
    """
    sources = b"".join(map(_sources, (_DOMAIN, *folders)))
    digest = hashlib.sha256(compiler.encode() + sources + source.read_bytes()).hexdigest()[:16]
    beside = _DOMAIN / "__pycache__" / "compiled" / digest
    return beside if beside.is_dir() or not chosen else Path(chosen) / "andante" / digest


@cache
def _sources(folder: Path) -> bytes:
    paths = {path for pattern in _CALLED for path in folder.glob(pattern)}
    return b"".join(path.read_bytes() for path in sorted(paths))
