"""The parts of tests that run the watches without a cluster."""

from __future__ import annotations

from andante.ports import Clock


class StillClock(Clock):
    """It is always second 0."""

    def now(self) -> float:
        return 0.0

    def monotonic(self) -> float:
        return 0.0


class EnoughError(Exception):
    """Ends the watches of a test."""
