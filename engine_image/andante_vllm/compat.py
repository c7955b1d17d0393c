"""Checks which parts of Andante work with the installed vLLM, before any of our code uses vLLM's internals.

vLLM's scheduler and engine client are not a public interface: another version may lack names that our code imports.
The scheduler runs only with tested versions that have all names it imports. The delivery meter runs with any version
that has its names and whose `AsyncLLM` accepts its arguments. Other parts are left out, and vLLM serves without them.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TESTED_VLLM_VERSIONS: Final = ("0.32.0",)
"""Versions with which our tests and vLLM's own tests passed; any other version runs vLLM's own scheduling."""
SCHEDULER: Final = "scheduler"
METER: Final = "middleware"
_FOLDER: Final = Path(__file__).parent
_PACKAGE: Final = __package__ or "andante_vllm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compatibility:
    """The reason why a part is left out; empty: the part runs."""

    scheduler: str = ""
    meter: str = ""


ALL: Final = Compatibility()


def examine() -> Compatibility:
    """Check the installed vLLM. Imports vLLM; raises no errors of its own."""
    version = _version()
    return Compatibility(scheduler=untested(version) or _lacking(SCHEDULER, version), meter=_meter_problem(version))


def untested(version: str) -> str:
    """Why the policy does not run with vLLM `version`; empty for a tested version."""
    plain = version.split("+", 1)[0]
    if plain in TESTED_VLLM_VERSIONS:
        return ""
    return f"untested vLLM {plain} (tested: {', '.join(TESTED_VLLM_VERSIONS)})"


def vllm_names(module: str) -> frozenset[tuple[str, str]]:
    """(module, name) of all names that `module` of this package, and its imports from this package, take from vLLM.

    The list is read from the sources, so it is always complete.
    """
    found: set[tuple[str, str]] = set()
    seen: set[str] = set()
    to_read = [module]
    while to_read:
        name = to_read.pop()
        path = _FOLDER / f"{name}.py"
        if name in seen or not path.is_file():
            continue
        seen.add(name)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or node.module is None:
                continue
            if node.module == _PACKAGE:
                to_read += [alias.name for alias in node.names]
            elif node.module.startswith(f"{_PACKAGE}."):
                to_read.append(node.module.removeprefix(f"{_PACKAGE}."))
            elif node.module.split(".", 1)[0] == "vllm":
                found |= {(node.module, alias.name) for alias in node.names}
    return frozenset(found)


def _version() -> str:
    try:
        return str(importlib.import_module("vllm").__version__)
    except (ImportError, AttributeError):
        return "unknown"


def _lacking(module: str, version: str) -> str:
    """Names that `module` needs and vLLM lacks, as a reason in the form of `untested`; empty where none is lacking."""
    for source, name in sorted(vllm_names(module)):
        try:
            found = importlib.import_module(source)
        except Exception as error:  # noqa: BLE001  whatever a changed vLLM raises while it is imported
            return f"untested vLLM {version}: {source} cannot be imported ({type(error).__name__}: {error})"
        if not hasattr(found, name):
            return f"untested vLLM {version}: {source} has no {name}"
    return ""


def _meter_problem(version: str) -> str:
    problem = _lacking(METER, version)
    if problem:
        return problem
    client = importlib.import_module("vllm.v1.engine.async_llm").AsyncLLM
    parameters = list(inspect.signature(client.generate).parameters)[1:3]
    if parameters != ["prompt", "sampling_params"] or not inspect.isasyncgenfunction(client.generate):
        return f"untested vLLM {version}: AsyncLLM.generate is another one than the meter knows"
    if "timeout" not in inspect.signature(client.shutdown).parameters:
        return f"untested vLLM {version}: AsyncLLM.shutdown takes no timeout"
    return ""
