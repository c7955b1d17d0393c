"""Checks that an operator's memory does not grow with the number of faults."""

from __future__ import annotations

from dataclasses import dataclass, field

FACTOR = 1.10
"""Most memory after the warm-up, relative to its end."""
WARM_UP = 4
"""Groups of faults in which connections, threads and the allocator's pools fill, once. Measured over 420 faults in 7
groups: 93 MiB before the first, then 100, 103, 104, 104, 105, 106 and 106. From the second group on, the number of
Python objects stayed within 2 %."""


@dataclass(slots=True)
class MemoryCheck:
    """Judges the memory of each process in each role, weighed after each group of faults."""

    _weighed: dict[tuple[int, bool], list[float]] = field(default_factory=dict)

    def weigh(self, *, pid: int, leads: bool, mib: float) -> str:
        """Take one weight; return what is wrong with it, or nothing. A process that is restarted begins again."""
        weights = self._weighed.setdefault((pid, leads), [])
        weights.append(mib)
        if len(weights) <= WARM_UP:
            return ""
        warm = max(weights[:WARM_UP])
        if mib <= FACTOR * warm:
            return ""
        return f"{mib:.0f} MiB after {len(weights)} groups, {warm:.0f} after the first {WARM_UP}"
