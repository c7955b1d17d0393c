"""The promise (SLO) of a service, and the arithmetic of its error budget. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

HOUR: Final = 3600.0
DAY: Final = 24 * HOUR


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """`good_fraction` of the requests of each `window` is good. Raises ValueError for what is no promise."""

    good_fraction: float
    """In (0, 1]; at 1 no request may be bad."""
    window: float
    """Seconds, > 0."""

    def __post_init__(self) -> None:
        if not 0 < self.good_fraction <= 1:
            raise ValueError(f"good_fraction must be in (0, 1], got {self.good_fraction}")
        if not self.window > 0:
            raise ValueError(f"window must be positive, got {self.window}")

    @property
    def bad_share(self) -> float:
        """Share of requests that may be bad (the error budget), in [0, 1). Rounded: 1 - .99 is .010000000000000009."""
        return round(1 - self.good_fraction, 12)

    def budget(self, requests: float) -> float:
        """How many of so many requests may be bad."""
        return self.bad_share * requests
