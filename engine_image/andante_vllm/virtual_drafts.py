"""Simulates speculative decoding on a virtual device: decides how many of a step's draft tokens are accepted.

Each draft token is accepted with the same probability, if those before it were. The random draw depends only on the
request and the position in its answer, so a run repeats with any scheduler. No vLLM import here.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import Final

_DRAWS: Final = 2**32


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualDrafts:
    """Accepts each draft token with probability `acceptance` (0 to 1)."""

    acceptance: float

    def held(self, request_id: str, position: int, drafted: int) -> int:
        """How many of `drafted` tokens are accepted; the first is for `position` of the sequence."""
        if not drafted or self.acceptance <= 0:
            return 0
        if self.acceptance >= 1:
            return drafted
        drawn = (zlib.crc32(f"{request_id} {position}".encode()) + 1) / (_DRAWS + 1)
        return min(int(math.log(drawn) / math.log(self.acceptance)), drafted)
