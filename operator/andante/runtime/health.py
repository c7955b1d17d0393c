"""Whether the operator works: what each part of it last said, against how long it may be silent.

Alive is about this process: a part that is silent for too long is one that a new process may mend. Ready is about this
operator: it holds the Lease, and has seen the cluster. A stand-by is alive and not ready.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from andante.ports import Clock


@dataclass(slots=True, kw_only=True)
class _Part:
    within: float
    last: float


class Health:
    """Parts say a word now and then; who asks is told which are overdue."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._parts: dict[str, _Part] = {}
        self.waiting_for = "its start"
        """What keeps the operator from working; empty when nothing does."""

    def expect(self, part: str, *, within: float) -> None:
        """From now on `part` says a word at least every `within` seconds."""
        self._parts[part] = _Part(within=within, last=self._clock.monotonic())

    def forget(self, part: str) -> None:
        """Nothing is expected of `part` any more."""
        self._parts.pop(part, None)

    def word_of(self, part: str) -> None:
        """`part` works."""
        if part in self._parts:
            self._parts[part].last = self._clock.monotonic()

    def excuse(self, *, but: Collection[str]) -> None:
        """No part but those is at fault for its silence so far."""
        for name in self._parts:
            if name not in but:
                self.word_of(name)

    def overdue(self) -> dict[str, float]:
        """Parts that are silent for too long, and for how many seconds."""
        now = self._clock.monotonic()
        return {name: now - part.last for name, part in self._parts.items() if now - part.last > part.within}

    def silences(self) -> dict[str, float]:
        """For how many seconds each part has been silent."""
        now = self._clock.monotonic()
        return {name: now - part.last for name, part in self._parts.items()}
