"""Describes a workload: arrival times and lengths of requests. `andante.cli.traces` reads the published formats."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceRequest:
    """One request of a trace (one line of the canonical CSV)."""

    arrival_s: float
    """Seconds since the trace began; finite, >= 0."""
    prompt_tokens: int
    """>= 1."""
    output_tokens: int
    """Visible tokens of the answer; >= 1."""
    qoe_class: str = ""
    """Name of the QoE class; empty where the trace names none."""
    prefix_group: str = ""
    """Requests with the same non-empty group share a prompt prefix."""

    def __post_init__(self) -> None:
        if not 0 <= self.arrival_s < math.inf:
            raise ValueError(f"arrival_s must be finite seconds >= 0, got {self.arrival_s}")
        if self.prompt_tokens < 1:
            raise ValueError(f"prompt_tokens must be >= 1, got {self.prompt_tokens}")
        if self.output_tokens < 1:
            raise ValueError(f"output_tokens must be >= 1, got {self.output_tokens}")
