"""How old a client's connection may get.

A connection that is kept pins its client to one replica: a new replica stays idle for as long as the clients of the old
ones keep theirs. So a connection ends at an age, with a whole reply. No clock: times are `time.monotonic()` seconds.
"""

from __future__ import annotations

import random
from typing import Final

SPREAD: Final = 0.2
"""Connections that were opened together must not end together: each has an age of its own, so much above or below."""


class ConnectionAge:
    """When one connection is old."""

    __slots__ = ("_factor", "_opened_at")

    def __init__(self, opened_at: float) -> None:
        self._opened_at = opened_at
        self._factor = random.uniform(1 - SPREAD, 1 + SPREAD)  # noqa: S311  no secret

    def reached(self, age: float, *, at: float) -> bool:
        """Whether the connection is open for `age` seconds, give or take the spread; never where `age` is 0."""
        return age > 0 and at - self._opened_at >= age * self._factor
