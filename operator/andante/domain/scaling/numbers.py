"""Keeps the scaler's memory small and exact: numbers of four digits, which JSON keeps as they are."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any


def short(value: float) -> float:
    """The value to four significant digits: a forecast needs no more, and a status is written often."""
    return float(f"{value:.4g}")


def number(value: Any) -> float:
    """A finite number from JSON. Raises ValueError or TypeError for anything else."""
    found = float(value)
    if not math.isfinite(found):
        raise ValueError(f"not finite: {found}")
    return found


def optional_number(value: Any) -> float | None:
    """A finite number, or None for null."""
    return None if value is None else number(value)


def numbers(values: Iterable[Any] | None, *, most: int) -> tuple[float, ...]:
    """The newest `most` finite numbers of a list."""
    return tuple(number(value) for value in values or ())[-most:]


def pairs(values: Iterable[Any] | None, *, most: int) -> tuple[tuple[float, float], ...]:
    """The newest `most` pairs of finite numbers of a list."""
    return tuple((number(a), number(b)) for a, b in values or ())[-most:]
