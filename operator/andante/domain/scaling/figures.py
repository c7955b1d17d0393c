"""A measured figure, or why there is none. Missing, stale and no traffic are three things, and none of them is 0."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """Measured. Raises ValueError for a value that is not finite: a NaN is not a measurement."""

    value: float
    at: float
    """Seconds (of the caller's clock) of the newest sample in it."""

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(f"value must be finite, got {self.value}; a figure that is not a number is Missing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stale:
    """Measured once, too long ago to act on."""

    at: float
    """Seconds of the newest sample."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """Could not be measured."""

    why: str


@dataclass(frozen=True, slots=True)
class NoTraffic:
    """Measured well, and there was nothing to measure: no request ended and none is open."""


Figure = Observed | Stale | Missing | NoTraffic


def value_of(figure: Figure) -> float | None:
    """The value where there is one, else None."""
    return figure.value if isinstance(figure, Observed) else None
