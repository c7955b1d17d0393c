"""Limits how often a child is repaired: where two controllers undo each other's writes, we stop and report it."""

from __future__ import annotations

from collections import deque

MOST, WITHIN_SECONDS = 5, 60.0
"""A person's edit is corrected at once. A controller that edits again and again costs at most this many writes."""


class Repairs:
    """Times of the newest repairs of each child of one service."""

    def __init__(self) -> None:
        self._times: dict[tuple[str, str], deque[float]] = {}

    def may(self, kind: str, name: str, *, now: float) -> bool:
        """Whether this child may be repaired once more at `now` (monotonic seconds); if so, count the repair."""
        times = self._times.setdefault((kind, name), deque(maxlen=MOST))
        if len(times) == MOST and now - times[0] < WITHIN_SECONDS:
            return False
        times.append(now)
        return True
