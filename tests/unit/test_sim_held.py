"""Named tuples that compiled functions hand on by reference read as the tuples themselves."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import pytest
from numba.core.errors import TypingError

from andante.domain.compiled import Bools, Floats, Ints, inner, uncounted
from andante.sim.held import held


class Inner(NamedTuple):
    values: Floats
    step: float


class Outer(NamedTuple):
    times: int
    ready: bool
    inner: Inner
    counts: Ints
    flags: Bools


class Alike(NamedTuple):
    first: Floats
    second: Floats


@uncounted
def _add(part: Inner, place: int) -> None:
    part.values[place] += part.step


@inner
def _visit(whole: Outer, place: int) -> Floats:
    if whole.ready and whole.flags[place]:
        _add(whole.inner, place)
        whole.counts[place] = whole.times
    return whole.inner.values[place:]


@numba.njit
def _run(whole: Outer) -> float:
    whole = held(whole)
    total = 0.0
    for place in range(whole.counts.size):
        total += _visit(whole, place).sum()
    return total


def _outer() -> Outer:
    inside = Inner(np.array([1.0, 2.0, 3.0]), 0.5)
    return Outer(4, True, inside, np.zeros(3, dtype=np.int64), np.array([True, False, True]))


def test_fields_are_read_and_arrays_changed_through_the_reference() -> None:
    whole = _outer()
    assert _run(whole) == (1.5 + 2.0 + 3.0) + (2.0 + 3.0) + 3.5
    assert whole.inner.values.tolist() == [1.5, 2.0, 3.5]
    assert whole.counts.tolist() == [4, 0, 4]


def test_a_tuple_whose_fields_are_all_of_one_type_is_one_too() -> None:
    @numba.njit
    def second(both: Alike) -> float:
        return float(held(both).second[0])

    assert second(Alike(np.array([1.0]), np.array([2.0]))) == 2.0


def test_a_field_that_is_not_there_is_refused_by_the_compiler() -> None:
    @numba.njit
    def wrong(whole: Outer) -> int:
        return int(held(whole).missing)

    with pytest.raises(TypingError, match="missing"):
        wrong(_outer())


def test_arrays_live_as_long_as_they_are_used() -> None:
    @numba.njit
    def outlives(whole: Outer) -> Floats:
        return _visit(held(whole), 1)

    for _ in range(100):
        assert outlives(_outer()).tolist() == [2.0, 3.0]
