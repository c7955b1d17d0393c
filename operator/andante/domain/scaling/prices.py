"""Says what a replica costs, and what smooth tokens are worth: the two figures of budget mode."""

from __future__ import annotations

from dataclasses import dataclass

_KILO_TOKENS_AN_HOUR = 3.6
"""1,000 tokens an hour for each token a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """In one currency, of the user's choice."""

    replica: float
    """Price of one replica per hour."""
    tokens: float
    """Value of 1,000 smooth tokens."""

    def worth(self, tokens: float) -> float:
        """Value of `tokens` smooth tokens/s, per hour."""
        return _KILO_TOKENS_AN_HOUR * tokens * self.tokens
