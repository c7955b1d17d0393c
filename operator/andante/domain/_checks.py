"""Refusals that the measures share: each names the value that is wrong."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray


def check_ttft(expected_ttft: float) -> None:
    """ValueError unless finite seconds >= 0."""
    if not (math.isfinite(expected_ttft) and expected_ttft >= 0):
        raise ValueError(f"expected_ttft must be finite seconds >= 0, got {expected_ttft}")


def check_pace(pace: float) -> None:
    """ValueError unless finite tokens/s > 0."""
    if not (math.isfinite(pace) and pace > 0):
        raise ValueError(f"pace must be finite tokens/s > 0, got {pace} (a batch request has no QoE)")


def check_step(*, at: float, last: float, tokens: int) -> None:
    """ValueError unless a delivery of `tokens` >= 1 at `at` follows the previous one at `last`."""
    if not math.isfinite(at) or at < last:
        raise ValueError(f"at must be finite and not before the previous delivery ({last} s), got {at}")
    if tokens < 1:
        raise ValueError(f"tokens must be at least 1, got {tokens}")


def check_delivery(delivery: ArrayLike) -> NDArray[np.float64]:
    """The timeline as an array of shape (n,); ValueError unless finite, >= 0 and ascending."""
    times = np.asarray(delivery, dtype=np.float64)
    if times.ndim != 1:
        raise ValueError(f"delivery must be one-dimensional, got shape {times.shape}")
    if not np.isfinite(times).all() or (times.size and times[0] < 0):
        raise ValueError("delivery must hold finite seconds >= 0")
    if (np.diff(times) < 0).any():
        raise ValueError("delivery must ascend")
    return times
