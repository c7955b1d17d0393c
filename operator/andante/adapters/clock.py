"""The system's clock."""

from __future__ import annotations

import time


class SystemClock:
    """The two clocks of the machine, read here and nowhere else in the operator."""

    def now(self) -> float:
        """Unix time in seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds on a clock that is never set."""
        return time.monotonic()
