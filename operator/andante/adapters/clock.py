"""The system's clock."""

from __future__ import annotations

import time


class SystemClock:
    """Unix time."""

    def now(self) -> float:
        """Unix time in seconds."""
        return time.time()
