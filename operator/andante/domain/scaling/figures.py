"""Represents a measured figure, or why there is none. Missing, stale and no traffic differ, and none of them is 0."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """Measured. Raises ValueError for a value that is not finite: a NaN is not a measurement."""

    value: float
    at: float
    """Time of the newest sample, seconds of the caller's clock."""

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(f"value must be finite, got {self.value}; a figure that is not a number is Missing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stale:
    """Measured, but too long ago to act on."""

    at: float
    """Time of the newest sample, seconds."""
    why: str = "the newest metrics are too old"
    """The newest cause that is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """Not measured."""

    why: str


@dataclass(frozen=True, slots=True)
class NoTraffic:
    """Measured without a request: no request ended and none is open."""


Known = Observed | Stale | Missing
"""Of what is counted also where nothing happens: without traffic it is 0, not unknown."""
Figure = Known | NoTraffic


def value_of(figure: Figure) -> float | None:
    """The value of an observed figure, else None."""
    return figure.value if isinstance(figure, Observed) else None
