"""Decides when a client's connection is too old.

A kept connection binds its client to one replica: a new replica stays idle while the clients keep their connections to
the old replicas. So a connection ends at an age, after a whole reply. No clock: times are `time.monotonic()` seconds.
"""

from __future__ import annotations

import random
from typing import Final

SPREAD: Final = 0.2
"""Each connection has its own age, up to this share above or below, so that connections opened together do not end
together."""


class ConnectionAge:
    """Decides when one connection is old."""

    __slots__ = ("_factor", "_opened_at")

    def __init__(self, opened_at: float) -> None:
        self._opened_at = opened_at
        self._factor = random.uniform(1 - SPREAD, 1 + SPREAD)  # noqa: S311  no secret

    def reached(self, age: float, *, at: float) -> bool:
        """Whether the connection has been open for `age` seconds, plus or minus the spread; never where `age` is 0."""
        return age > 0 and at - self._opened_at >= age * self._factor
