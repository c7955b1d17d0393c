"""How often a child may be put right: where two masters undo each other's work, one has to stop and say so."""

from __future__ import annotations

from collections import deque

from andante.app.world import Key
from andante.ports import Clock

MOST, WITHIN_SECONDS = 5, 60.0
"""A person who edits is put right at once; a controller that edits back and forth costs at most this many writes."""


class Repairs:
    """Times of each child's newest repairs."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._times: dict[Key, deque[float]] = {}

    def may(self, key: Key) -> bool:
        """Whether this child may be put right once more now; counts it if so."""
        now = self._clock.now()
        times = self._times.setdefault(key, deque(maxlen=MOST))
        if len(times) == MOST and 0 <= now - times[0] < WITHIN_SECONDS:
            return False
        times.append(now)
        return True

    def forget(self, key: Key) -> None:
        """The child is gone."""
        self._times.pop(key, None)
