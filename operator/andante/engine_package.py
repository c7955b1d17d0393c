"""Copies Andante's engine package from the installed wheel: `python -m andante.engine_package FOLDER`.

The init container of every engine pod runs it in the operator's image, so the copy has the operator's version. It
writes FOLDER/packages (pure Python: the engine's side, and what it shares with the operator) and FOLDER/engine, which
the engine image's Python runs. Standard library only.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

ENTRY_FILE: Final = "engine"
PACKAGES_FOLDER: Final = "packages"
ENGINE_PACKAGE: Final = "andante_vllm"
SHARED: Final = ("__init__.py", "domain", "engine_config.py", "profiles")
"""The parts of `andante` that the engine needs."""
_IGNORED = shutil.ignore_patterns("__pycache__", "scaling", "slo")
"""Compiled code, and what only the operator needs: the scaler's law, promises and alerts."""


def copy_to(folder: Path) -> int:
    """Write the package into the existing `folder`, over the files of an earlier try; return the bytes written.

    Raises OSError where a write fails, ModuleNotFoundError where the wheel lacks the engine's side.
    """
    shared, engine = _folder_of("andante"), _folder_of(ENGINE_PACKAGE)
    packages = folder / PACKAGES_FOLDER
    shutil.rmtree(packages, ignore_errors=True)
    (packages / "andante").mkdir(parents=True)
    for name in SHARED:
        source, target = shared / name, packages / "andante" / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=_IGNORED)
        else:
            shutil.copy(source, target)
    shutil.copytree(engine, packages / ENGINE_PACKAGE, ignore=_IGNORED)
    shutil.copy(engine / "injected.py", folder / ENTRY_FILE)
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _folder_of(package: str) -> Path:
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(f"the package {package} is not installed here")
    return Path(found.submodule_search_locations[0])


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 when the package was written, 1 after an error message, 2 for a wrong command line."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if len(given) != 1:
        print("usage: python -m andante.engine_package FOLDER", file=sys.stderr)
        return 2
    try:
        size = copy_to(Path(given[0]))
    except (OSError, ModuleNotFoundError) as error:
        print(f"engine package: cannot be written to {given[0]}: {error}", file=sys.stderr)
        return 1
    print(f"engine package: {size / 1024:.0f} KiB written to {given[0]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
