"""One request of a workload trace; readers of the published formats are in andante.cli.traces."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceRequest:
    """When a request arrives and how long it is. Raises ValueError naming the field that is out of range."""

    arrival_s: float
    """Seconds since the trace began; finite, >= 0."""
    prompt_tokens: int
    """Tokens of the prompt; >= 1."""
    output_tokens: int
    """Tokens of the answer; >= 1."""
    qoe_class: str | None = None
    """Name of the user's class; None: the service's default."""
    prefix_group: str | None = None
    """Requests of one group share the beginning of their prompt; None: nothing is shared."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.arrival_s) and self.arrival_s >= 0):
            raise ValueError(f"arrival_s must be finite seconds >= 0, got {self.arrival_s}")
        if self.prompt_tokens < 1:
            raise ValueError(f"prompt_tokens must be at least 1, got {self.prompt_tokens}")
        if self.output_tokens < 1:
            raise ValueError(f"output_tokens must be at least 1, got {self.output_tokens}")
