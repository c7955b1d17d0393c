"""How many requests per second a replica completes while requests always wait: load 1.0."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def middle_rate(finish: NDArray[np.float64]) -> float:
    """Requests per second in the middle two thirds of the completions at `finish` (seconds, shape (n,), n >= 6).

    All requests came at once. At the end the batch runs empty, and at the start it fills: neither is a rate.
    """
    ordered = np.sort(finish)
    first, last = ordered.size // 6, ordered.size * 5 // 6
    return float((last - first) / (ordered[last] - ordered[first]))
