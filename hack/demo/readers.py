"""Follows a reader of an answer: how long they waited with nothing left to read, and whether they would have left.

The reader is that of the simulator (`andante.sim.readers`): reads at their pace, from the expected first token on, and
leaves after waiting for longer than their patience, for the first token or after having read all that came. The
clients of the demo do not leave: they stay to the end, and the times of their tokens say who would have left.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

PATIENCE_SECONDS = (60.0, 20.0)
"""Mean patience, as in the scheduler's benchmarks (`make bench-patience`); patience is exponential."""


def longest_wait(delivery: Sequence[float], *, expected_ttft: float, pace: float, ended: float | None = None) -> float:
    """Longest time in seconds for which the reader had nothing to read.

    `delivery`: seconds since the request at which each token came. `ended`: when an answer that did not come whole
    ended; its reader waits until then. Before the first token the wait counts from the request.
    """
    period, read, longest = 1 / pace, 0.0, 0.0
    for number, at in enumerate(delivery):
        longest = max(longest, at - read)
        read = max(at, expected_ttft if number == 0 else read) + period
    return longest if ended is None else max(longest, ended - read)


def expected_to_leave(waits: Iterable[float], *, patience: float) -> float:
    """How many readers would have left, on average over their patience (exponential, mean `patience` seconds)."""
    return sum(-math.expm1(-wait / patience) for wait in waits)
