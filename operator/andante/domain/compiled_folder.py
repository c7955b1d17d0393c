"""Where the machine code of a source file is kept; known without importing the compiler, which takes seconds."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

_DOMAIN = Path(__file__).parent


def compiled_folder(source: Path, *, compiler: str, chosen: str) -> Path:
    """The folder for the functions of `source` (a Python file).

    Keyed by the compiler's version and by the sources that the functions may call: numba itself would look at the
    function's own file alone. It lies beside the sources where code came with them (an image may bring it along) or
    where nothing was `chosen` ($NUMBA_CACHE_DIR); else in the chosen folder.
    """
    digest = hashlib.sha256(compiler.encode() + _domain_sources() + source.read_bytes()).hexdigest()[:16]
    beside = _DOMAIN / "__pycache__" / "compiled" / digest
    return beside if beside.is_dir() or not chosen else Path(chosen) / "andante" / digest


@cache
def _domain_sources() -> bytes:
    return b"".join(path.read_bytes() for path in sorted(_DOMAIN.rglob("*.py")))
