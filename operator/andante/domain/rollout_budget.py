"""Decides which services may replace their pods now, when a new operator or chart changes the pods of all services.

Pure: the caller passes the state of each service and starts the rollouts in the result.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

BUDGET_PATTERN = r"^([1-9][0-9]{0,4}|([1-9][0-9]?|100)%)$"


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutBudget:
    """How many services may replace their pods at once: a number, or a share of all services."""

    number: int = 0
    share: float = 0.0
    """In (0, 1], where `number` is 0."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `3` or `10%`. Raises ValueError."""
        if re.fullmatch(BUDGET_PATTERN, text) is None:
            raise ValueError(f"must be a number from 1 to 99999, or a share from 1% to 100%, got {text!r}")
        return cls(share=int(text[:-1]) / 100) if text.endswith("%") else cls(number=int(text))

    def of(self, services: int) -> int:
        """Number of services at once, of `services` in all; at least 1. A share is rounded up."""
        # Remove the rounding error first: 0.07 x 100 is 7.000000000000001 and would be rounded up to 8.
        return self.number or max(1, math.ceil(round(self.share * services, 6)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRollout:
    """The present state of one service."""

    key: tuple[str, str]
    """Namespace and name."""
    rolling: bool
    """Whether the service's pods are being replaced, or the service has its turn; for any reason."""
    waiting_since: float | None = None
    """Since when the service waits for a turn, Unix time; None: it does not wait."""


def next_turns(services: Sequence[ServiceRollout], *, budget: int) -> list[tuple[str, str]]:
    """The services that may begin now, longest wait first; at most `budget` services roll at once."""
    free = budget - sum(service.rolling for service in services)
    waiting = [(s.waiting_since, s.key) for s in services if s.waiting_since is not None and not s.rolling]
    return [key for _, key in sorted(waiting)[: max(0, free)]]
