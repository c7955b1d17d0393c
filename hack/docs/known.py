"""Lists what exists in this repository: files, make targets, names in the code, conditions, flags of our programs."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from andante.cli.main import app
from hack.docs.markdown import ROOT

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TARGET = re.compile(r"^([\w.-]+(?: [\w.-]+)*):(?!=)", re.MULTILINE)
_SOURCES = (
    "operator",
    "engine_image",
    "hack",
    "charts",
    "templates",
    "crds",
    "benchmarks",
    "examples",
    ".ci",
    ".github",
)
_WRITTEN = (".py", ".yaml", ".yml", ".tpl", ".txt", ".json", ".toml", ".mk", ".sh", ".in", "Dockerfile", "Makefile")


@cache
def files() -> frozenset[str]:
    """Paths of all tracked files and their folders, and of new files that git does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split("\n")
    paths = [Path(name) for name in listed if name and (ROOT / name).exists()]
    if not paths:  # not a clone: an archive of the tree
        paths = [p.relative_to(ROOT) for p in ROOT.rglob("*") if ".venv" not in p.parts and p.is_file()]
    return frozenset(str(one) for path in paths for one in (path, *path.parents))


@cache
def names_of_files() -> frozenset[str]:
    """Last parts of those paths."""
    return frozenset(Path(path).name for path in files())


@cache
def make_targets() -> frozenset[str]:
    """Targets of the Makefile and of hack/make."""
    text = "\n".join(path.read_text() for path in (ROOT / "Makefile", *sorted((ROOT / "hack" / "make").glob("*.mk"))))
    return frozenset(name for names in _TARGET.findall(text) for name in names.split() if not name.startswith("."))


@cache
def make_variables() -> frozenset[str]:
    """Variables that the recipes read."""
    text = "\n".join(path.read_text() for path in (ROOT / "Makefile", *sorted((ROOT / "hack" / "make").glob("*.mk"))))
    return frozenset(re.findall(r"\$\((?:if \$\()?([A-Z_]+)\)", text)) | set(
        re.findall(r"^([A-Z_]+) \?=", text, re.MULTILINE)
    )


@cache
def words() -> frozenset[str]:
    """Every name in the code, manifests and scripts.

    Names in comments, sentences and these checks do not count: a wrong name in a message must not prove itself.
    """
    found: set[str] = set()
    for name in files():
        path = ROOT / name
        ours = name.split("/")[0] in _SOURCES or "/" not in name
        if not ours or name.startswith("hack/docs") or not name.endswith(_WRITTEN) or not path.is_file():
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        if name.endswith(".py"):
            found.add(path.stem)
            for node in ast.walk(ast.parse(text)):
                found |= _names(node)
        else:
            found |= set(_WORD.findall(re.sub(r"(?m)(^|\s)#.*$|description:.*$|\"description\".*$", "", text)))
    return frozenset(found)


def _names(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Constant):
        constant = node.value if isinstance(node.value, str) and not re.search(r"\s\w+\s", node.value) else ""
        return set(_WORD.findall(constant))
    named = {getattr(node, key, None) for key in ("id", "attr", "name", "arg")}
    return {part for one in named if isinstance(one, str) for part in one.split(".")}


@cache
def tests() -> frozenset[str]:
    """Names of test functions."""
    paths = [ROOT / name for name in files() if name.startswith("tests/") and name.endswith(".py")]
    return frozenset(name for path in paths for name in re.findall(r"def (test_\w+)", path.read_text()))


@cache
def metrics() -> frozenset[str]:
    """Names of metrics, without the suffixes of counters and histograms."""
    found = set()
    for name in files():
        if name.endswith(".py") and name.startswith(("operator/", "engine_image/")):
            found |= set(re.findall(r"[\"'](andante_\w+)", (ROOT / name).read_text()))
            found |= {
                f"andante_scheduler_{word}"
                for word in re.findall(r"[\"'{}]_?([a-z][a-z_]+)[\"']", (ROOT / name).read_text())
                if "scheduler_metrics" in name
            }
    return frozenset(re.sub(r"_(total|sum|count|bucket)$", "", name) for name in found)


@cache
def condition_types() -> frozenset[str]:
    """Types of the conditions, from the headings of their page. A test compares that page with the code."""
    page = (ROOT / "docs" / "reference" / "conditions.md").read_text()
    return frozenset(re.findall(r"^## (\w+):", page, re.MULTILINE))


@cache
def andante_command(words: tuple[str, ...]) -> tuple[str, frozenset[str]] | None:
    """Path and flags of the `andante` command that these words name; None where a word is no sub-command."""
    command: Any = typer.main.get_command(app)
    path = "andante"
    for word in words:
        if not isinstance(command, TyperGroup):
            break
        if word not in command.commands:
            return None
        command, path = command.commands[word], f"{path} {word}"
    return path, _andante_flags(command)


def _andante_flags(command: Any) -> frozenset[str]:
    options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    return frozenset(name for name in options if name.startswith("-")) | {"-h", "--help"}


@cache
def module_help(module: str, words: tuple[str, ...]) -> str | None:
    """The output of `python -m MODULE WORDS --help`; None where the module or a word does not exist.

    A module that parses no options is not started: it would take `--help` for a name, and do its work.
    """
    source = _source(module)
    if source is None:
        return None
    if not any("ArgumentParser" in path.read_text() for path in source):
        return ""
    done = subprocess.run(
        [sys.executable, "-m", module, *words, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "200", "PYTHONPATH": os.pathsep.join((".", "operator", "engine_image"))},
    )
    return done.stdout if done.returncode == 0 else _written_flags(module)


def _source(module: str) -> list[Path] | None:
    """The files of a module, or of a package that can be started; None where there is none."""
    for root in (ROOT, ROOT / "operator", ROOT / "engine_image"):
        path = root / module.replace(".", "/")
        if path.with_suffix(".py").is_file():
            return [path.with_suffix(".py")]
        if (path / "__main__.py").is_file():
            return sorted(path.glob("*.py"))
    return None


def _written_flags(module: str) -> str | None:
    """The flags in the source of a module that cannot start without vLLM."""
    sources = [one for path in _source(module) or () for one in sorted(path.parent.glob("*.py"))]
    if not any("vllm" in source.read_text() for source in sources):
        return None
    found = []
    for source in sources:
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add_argument":
                found += [
                    one.value for one in node.args if isinstance(one, ast.Constant) and isinstance(one.value, str)
                ]
    return " ".join(found)


def flags_in(text: str) -> frozenset[str]:
    """The flags that a help text names."""
    return frozenset(re.findall(r"(?<![\w-])(--?[a-zA-Z][\w-]*)", text)) | {"-h", "--help"}


def subcommands_in(text: str) -> Sequence[str]:
    """Sub-commands that argparse's help shows: the choices in braces of the usage line, or the list below it."""
    usage = text.partition("\n\n")[0]
    match = re.search(r"\{([\w,-]+)\} \.\.\.", usage)
    if match:
        return match[1].split(",")
    listed = text.partition("positional arguments:")[2].partition("\noptions:")[0]
    return re.findall(r"^    ([a-z][\w-]*)", listed, re.MULTILINE) if "COMMAND ..." in usage else []


@cache
def our_flags() -> frozenset[str]:
    """All flags of all our programs, to check a flag that is alone in a sentence."""
    found: set[str] = set()
    for name in files():
        if name.endswith(".py") and name.split("/")[0] in _SOURCES and not name.startswith("hack/docs"):
            found |= set(re.findall(r"[\"'](--[a-z][\w-]*)", (ROOT / name).read_text()))
        elif name.endswith(".sh"):
            found |= set(re.findall(r"^\s*(--[a-z][\w-]*)\)", (ROOT / name).read_text(), re.MULTILINE))
    commands: list[Any] = [typer.main.get_command(app)]
    while commands:
        command = commands.pop()
        found |= _andante_flags(command)
        commands += command.commands.values() if isinstance(command, TyperGroup) else []
    return frozenset(found)
