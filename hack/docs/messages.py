"""Checks the programs' messages: descriptions of the CRD and of values, conditions, errors, notes of the chart."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from hack.docs import known, names
from hack.docs.markdown import ROOT, Fault

_PYTHON = ("operator/andante/", "engine_image/", "hack/")
_OTHERS = ("crds/", "templates/", "charts/")
_NOT = ("hack/docs/", "operator/andante/domain/")


def sentences(*, docstrings: bool = True) -> Iterator[tuple[str, int, str]]:
    """File, line and text of everything that looks like a sentence; with `docstrings`, also docstrings and comments."""
    for name in sorted(known.files()):
        path = ROOT / name
        if name.startswith(_NOT) or not path.is_file():
            continue
        if name.startswith(_PYTHON) and name.endswith(".py"):
            yield from ((name, line, text) for line, text in _strings(path, docstrings=docstrings))
        elif (name.startswith(_OTHERS) and name.endswith((".yaml", ".tpl", ".txt", ".json"))) or name in (
            "values.yaml",
            "values.schema.json",
        ):
            for at, line in enumerate(path.read_text().splitlines(), 1):
                if not docstrings and line.lstrip().startswith("#"):
                    continue
                text = re.sub(r"\{\{.*?\}\}", "…", line)
                if len(text.split()) > 3:
                    yield name, at, text.replace("''", "'")


def faults() -> list[Fault]:
    """The names in messages that do not exist."""
    return [
        Fault(file, line, name, advice) for file, line, text in sentences() for name, advice in names.of_sentence(text)
    ]


def _strings(path: Path, *, docstrings: bool) -> Iterator[tuple[int, str]]:
    tree = ast.parse(path.read_text())
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            if not docstrings and id(node) in alone:
                continue
            text = node.value
        else:
            continue
        if len(text.split()) > 3:
            for offset, line in enumerate(text.splitlines()):
                yield node.lineno + offset, line
