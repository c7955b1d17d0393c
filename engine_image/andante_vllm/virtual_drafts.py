"""Speculative decoding on a virtual device: how many of a step's draft tokens hold.

Each holds with the same probability, if those before it did. What is drawn depends on the request and on the place in
its answer alone, so that a run repeats whatever the scheduler does. No vLLM import here.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import Final

_DRAWS: Final = 2**32


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualDrafts:
    """Draft tokens that hold with probability `acceptance` (0 to 1) each."""

    acceptance: float

    def held(self, request_id: str, position: int, drafted: int) -> int:
        """How many of `drafted` tokens hold whose first is for `position` of the sequence."""
        if not drafted or self.acceptance <= 0:
            return 0
        if self.acceptance >= 1:
            return drafted
        drawn = (zlib.crc32(f"{request_id} {position}".encode()) + 1) / (_DRAWS + 1)
        return min(int(math.log(drawn) / math.log(self.acceptance)), drafted)
