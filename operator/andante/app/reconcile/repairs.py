"""How often a child may be put right: where two masters undo each other's work, one has to stop and say so."""

from __future__ import annotations

from collections import deque

MOST, WITHIN_SECONDS = 5, 60.0
"""A person who edits is put right at once; a controller that edits back and forth costs at most this many writes."""


class Repairs:
    """Times of the newest repairs of each child of one service."""

    def __init__(self) -> None:
        self._times: dict[tuple[str, str], deque[float]] = {}

    def may(self, kind: str, name: str, *, now: float) -> bool:
        """Whether this child may be put right once more at `now` (monotonic seconds); counts it if so."""
        times = self._times.setdefault((kind, name), deque(maxlen=MOST))
        if len(times) == MOST and now - times[0] < WITHIN_SECONDS:
            return False
        times.append(now)
        return True
