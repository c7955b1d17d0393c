"""Learns how many tokens a decoding sequence gets per step while the engine runs.

Without speculative decoding this is one. With it, a step gives the accepted draft tokens and one more.
"""

from __future__ import annotations

FORGETTING = 0.995
"""Weight of a step relative to the next step: an effective memory of 200 steps."""
PRIOR_SEQUENCES = 16.0
"""The start value (no draft token accepted) has the weight of this many sequences of one step."""


class TokensPerStep:
    """Mean over the decoding sequences of the latest steps."""

    def __init__(self) -> None:
        self._sequences = PRIOR_SEQUENCES
        self._held = 0.0

    @property
    def mean(self) -> float:
        """Mean tokens per sequence and step, >= 1."""
        return 1 + self._held / self._sequences

    def observe(self, *, sequences: float, held: float) -> None:
        """Add a step of `sequences` decoding sequences (> 0) with `held` (>= 0) accepted draft tokens in total."""
        self._sequences = FORGETTING * self._sequences + sequences
        self._held = FORGETTING * self._held + held
