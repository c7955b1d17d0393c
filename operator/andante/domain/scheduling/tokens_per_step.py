"""How many tokens a step brings a decoding sequence, learned while the engine runs.

One without speculative decoding. With it a step verifies draft tokens, and brings those that hold and one more.
"""

from __future__ import annotations

FORGETTING = 0.995
"""Weight of a step relative to the next one: an effective memory of 200 steps."""
PRIOR_SEQUENCES = 16.0
"""The start, where no draft token holds, counts as much as that many sequences of one step."""


class TokensPerStep:
    """Mean over the decoding sequences of the latest steps."""

    def __init__(self) -> None:
        self._sequences = PRIOR_SEQUENCES
        self._held = 0.0

    @property
    def mean(self) -> float:
        """Tokens that a step brings each, >= 1."""
        return 1 + self._held / self._sequences

    def observe(self, *, sequences: float, held: float) -> None:
        """A step of so many decoding sequences (> 0), of whose draft tokens `held` (>= 0) held, in all."""
        self._sequences = FORGETTING * self._sequences + sequences
        self._held = FORGETTING * self._held + held
