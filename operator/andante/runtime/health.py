"""Tells whether the operator works: each part reports, and no part may be silent for longer than its limit.

Alive is about this process: where a part is silent for too long, a new process may repair it. Ready is about this
operator: it holds the Lease and has listed the cluster. A stand-by is alive and not ready.
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
    """Records when each part reported last, and names the parts that are overdue."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._parts: dict[str, _Part] = {}
        self.waiting_for = "its start"
        """What the operator waits for before it can work; empty when it works."""

    def expect(self, part: str, *, within: float) -> None:
        """From now on `part` must report at least every `within` seconds."""
        self._parts[part] = _Part(within=within, last=self._clock.monotonic())

    def forget(self, part: str) -> None:
        """`part` need not report any more."""
        self._parts.pop(part, None)

    def word_of(self, part: str) -> None:
        """`part` reports that it works."""
        if part in self._parts:
            self._parts[part].last = self._clock.monotonic()

    def excuse(self, *, but: Collection[str]) -> None:
        """Forgive all parts except `but` for their silence so far."""
        for name in self._parts:
            if name not in but:
                self.word_of(name)

    def overdue(self) -> dict[str, float]:
        """The parts that are silent for too long, each with the seconds of its silence."""
        now = self._clock.monotonic()
        return {name: now - part.last for name, part in self._parts.items() if now - part.last > part.within}

    def silences(self) -> dict[str, float]:
        """The seconds for which each part has been silent."""
        now = self._clock.monotonic()
        return {name: now - part.last for name, part in self._parts.items()}
