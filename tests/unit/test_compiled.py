"""Compiled functions: the types that they take, and what becomes of the others."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from andante.domain.compiled import Floats, Table, compiled


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


def test_an_annotation_that_nothing_stands_for_is_an_error_at_import() -> None:
    def length(text: str) -> int:
        return len(text)

    with pytest.raises(KeyError):
        compiled(length)
