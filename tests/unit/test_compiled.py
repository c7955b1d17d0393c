"""Compiled functions: the types that they take, and what becomes of the others."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import andante
from andante.domain.compiled import Floats, Table, compiled, unchecked
from andante.domain.compiled_folder import compiled_folder

_NO_CACHES = shutil.ignore_patterns("__pycache__")


class Line(NamedTuple):
    slope: float
    offset: float


def test_an_array_and_a_named_tuple_are_arguments() -> None:
    @compiled
    def values(at: Floats, line: Line) -> Floats:
        found = np.empty_like(at)
        for i in range(at.size):
            found[i] = line.slope * at[i] + line.offset
        return found

    assert values(np.array([0.0, 2.0]), Line(3.0, 1.0)).tolist() == [1.0, 7.0]


def test_division_by_zero_is_infinite_as_in_numpy() -> None:
    @compiled
    def share(of: float, whole: float) -> float:
        return of / whole

    assert share(1.0, 0.0) == np.inf


def test_an_array_of_the_wrong_shape_is_refused() -> None:
    @compiled
    def cells(table: Table) -> int:
        return table.size

    with pytest.raises(TypeError):
        cells(np.zeros(3))


def test_without_the_look_at_its_arguments_it_answers_the_same() -> None:
    @compiled
    def at(line: Line, places: Floats) -> Floats:
        return line.slope * places + line.offset

    assert unchecked(at)(Line(3.0, 1.0), np.array([0.0, 2.0])).tolist() == [1.0, 7.0]


def test_an_annotation_that_nothing_stands_for_is_an_error_at_import() -> None:
    def length(text: str) -> int:
        return len(text)

    with pytest.raises(KeyError):
        compiled(length)


PROBE = """
from numba.core.caching import FunctionCache

compiled = []
save = FunctionCache.save_overload
FunctionCache.save_overload = lambda *arguments: (compiled.append(1), save(*arguments))

import andante.domain.scheduling.prediction
print("compiled" if compiled else "found")
"""
AS_USER = () if os.getuid() else ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
"""Root that may write only where the mode says so, as any other user."""


def _copied_domain(folder: Path) -> Path:
    """A source root with the domain alone, and no machine code."""
    package = folder / "sources" / "andante"
    shutil.copytree(Path(andante.__file__).parent / "domain", package / "domain", ignore=_NO_CACHES)
    (package / "__init__.py").touch()
    return package.parent


def _probe(sources: Path, **environment: str) -> str:
    ran = subprocess.run(
        [*AS_USER, sys.executable, "-c", PROBE],
        env={**os.environ, "PYTHONPATH": str(sources), **environment},
        check=True, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    return ran.stdout.strip()


def _make_read_only(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)


def test_code_that_came_with_read_only_sources_is_used_although_their_times_lost_a_fraction(tmp_path: Path) -> None:
    sources = _copied_domain(tmp_path)
    assert _probe(sources) == "compiled"
    for path in sources.rglob("*.py"):
        os.utime(path, (1.0, 1.0))
    _make_read_only(sources)
    assert _probe(sources) == "found"


def test_a_start_that_finds_no_code_and_may_not_keep_any_compiles_all_the_same(tmp_path: Path) -> None:
    sources = _copied_domain(tmp_path)
    assert _probe(sources) == "compiled"
    for path in sources.rglob("*.nb[ci]"):
        path.unlink()
    _make_read_only(sources)
    assert _probe(sources) == "compiled"
    assert not list(sources.rglob("*.nb[ci]"))


def test_a_change_of_a_source_that_a_function_may_call_compiles_it_again(tmp_path: Path) -> None:
    sources = _copied_domain(tmp_path)
    assert _probe(sources) == "compiled"
    assert _probe(sources) == "found"
    with (sources / "andante" / "domain" / "pace.py").open("a") as source:
        source.write("# changed\n")
    assert _probe(sources) == "compiled"


def test_read_only_sources_keep_their_code_in_numbas_folder_wherever_they_lie(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    for name, expected in (("first", "compiled"), ("second", "found")):
        sources = _copied_domain(tmp_path / name)
        _make_read_only(sources)
        assert _probe(sources, NUMBA_CACHE_DIR=str(kept)) == expected
        assert not list(sources.rglob("*.nb[ci]"))


def test_another_function_of_the_same_types_is_an_argument() -> None:
    @compiled
    def twice(at: Floats) -> float:
        return 2 * at[0]

    @compiled
    def thrice(at: Floats) -> float:
        return 3 * at[0]

    @compiled
    def value_of(function: Callable[[Floats], float], at: Floats) -> float:
        return function(at)

    assert [value_of(function, np.array([7.0])) for function in (twice, thrice)] == [14.0, 21.0]


def test_a_change_of_a_part_outside_the_domain_is_another_folder(tmp_path: Path) -> None:
    """`compiled_folder` keeps what it has read, as sources do not change while a process runs: two folders."""
    source = tmp_path / "loop.py"
    source.write_text("")
    folders = []
    for part in ("old", "new"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "parts.py").write_text(f"# {part}")
        folders.append(compiled_folder(source, tmp_path / part, compiler="1", chosen="/chosen"))
    assert folders[0] != folders[1]
