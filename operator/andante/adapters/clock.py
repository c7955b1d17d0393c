"""The system's clock."""

from __future__ import annotations

import time


class SystemClock:
    """Reads the two clocks of the machine. No other part of the operator reads them."""

    def now(self) -> float:
        """Unix time in seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds on a clock that is never set."""
        return time.monotonic()
