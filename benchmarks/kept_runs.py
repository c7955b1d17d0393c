"""Keeps the result of each run of a benchmark, so that the benchmark can be stopped and goes on where it was.

A result's name changes with what was asked and with the code that the run depends on, not with that code's layout.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hack.localcluster.settings import cache


def file_of(benchmark: str, asked: Mapping[str, Any], sources: Iterable[Path], *, prefix: str = "") -> Path:
    """The file of the run that `asked` describes with the code of `sources`, in the cache's folder `benchmark`."""
    folder = cache() / benchmark
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode())
    for source in sorted(set(sources)):
        digest.update(_meaning(source).encode())
    return folder / f"{prefix}{digest.hexdigest()[:24]}.json"


def loaded_by(*modules: str) -> list[Path]:
    """The files of `modules` and of all that they import, at once or later, from their own top-level packages."""
    roots = {module.partition(".")[0] for module in modules}
    files: dict[str, Path] = {}
    left = list(modules)
    while left:
        name = left.pop()
        file = None if name in files or name.partition(".")[0] not in roots else _file_of_module(name)
        if file is None:
            continue
        files[name] = file
        left.append(name.rpartition(".")[0])
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                left += [each.name for each in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                left += [node.module, *(f"{node.module}.{each.name}" for each in node.names)]
    return sorted(files.values())


def keep(file: Path, result: Mapping[str, Any]) -> None:
    """Write the result at once: a run that is broken off leaves no half file."""
    scratch = file.with_suffix(f".{os.getpid()}.tmp")
    scratch.write_text(json.dumps(result))
    scratch.replace(file)


def version_of(sources: Iterable[Path]) -> str:
    """Names code without its history: the same code has the same version in every commit."""
    digest = hashlib.sha256()
    for source in sources:
        digest.update(_meaning(source).encode())
    return digest.hexdigest()[:12]


def _file_of_module(name: str) -> Path | None:
    """None: `name` is no module, but something within one."""
    try:
        spec = importlib.util.find_spec(name)
    except (ModuleNotFoundError, ValueError):
        return None
    return None if spec is None or spec.origin is None else Path(spec.origin)


@functools.cache
def _meaning(source: Path) -> str:
    """The code without comments, docstrings and layout: a reformatted file makes no run stale. Data as it is."""
    if source.suffix != ".py":
        return hashlib.sha256(source.read_bytes()).hexdigest()
    tree = ast.parse(source.read_text())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            # A string that stands alone documents what is before it. mypy does not know which nodes have a body.
            node.body = [  # type: ignore[attr-defined]
                s for s in body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))
            ]
    return ast.dump(tree)
