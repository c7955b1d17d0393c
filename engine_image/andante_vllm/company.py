"""Tells whether a request had the engine to itself, and since when the engine has had work. No vLLM import.

Another replica helps nobody who was alone on theirs: whatever was late then was late on an idle replica
(`andante.domain.deficit_cause`). A model of the step time cannot say so: on a busy machine it is wrong by a few
percent, and a few percent of a long answer are more than an objective tolerates.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _Moment:
    """The engine's calls at one moment."""

    running: int
    began: int


class Company:
    """Counts the calls that run on one engine. For the event loop's thread."""

    __slots__ = ("_began", "_monotonic", "_running", "busy_since", "idle_since")

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._began = self._running = 0
        self.busy_since = -math.inf
        """When a call began while no other ran."""
        self.idle_since = -math.inf
        """When the last running call ended."""

    @property
    def running(self) -> int:
        """Calls that have not ended."""
        return self._running

    def call_began(self) -> None:
        """Note that the engine runs one more call."""
        if not self._running:
            self.busy_since = self._monotonic()
        self._began += 1
        self._running += 1

    def call_ended(self) -> None:
        """Note the end of a call that began."""
        self._running -= 1
        if not self._running:
            self.idle_since = self._monotonic()

    def now(self) -> _Moment:
        """The present moment, for `none_since`."""
        return _Moment(self._running, self._began)

    def none_since(self, moment: _Moment, *, own: int) -> bool:
        """Whether no call but the `own` ones, which began later, has run since `moment`."""
        return not moment.running and self._began - moment.began == own
