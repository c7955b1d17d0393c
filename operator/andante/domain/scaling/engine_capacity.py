"""Describes what one replica's engine can hold and how fast it is, as the engines of a service tell it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from andante.domain.step_time import LinearStepTime


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineCapacity:
    """One replica of a service. Raises ValueError for a number that no engine has."""

    kv_tokens: float
    """Tokens that the replica's KV cache holds; > 0."""
    max_num_seqs: float
    """Most sequences in one step; >= 1."""
    max_step_tokens: float
    """Most tokens that one step computes: vLLM's `max_num_batched_tokens`; >= 1."""
    step_time: LinearStepTime
    """Seconds of one step, of a decoding sequence with its draft tokens."""
    fitted: bool
    """Whether `step_time` was fitted on the steps of these engines; False: it is what the fit starts from."""
    tokens_per_step: float = 1.0
    """Tokens that one step adds to one decoding sequence: more than 1 with speculative decoding; >= 1."""

    def __post_init__(self) -> None:
        limits = {"max_num_seqs": self.max_num_seqs, "max_step_tokens": self.max_step_tokens}
        for name, value in {**limits, "tokens_per_step": self.tokens_per_step}.items():
            if not (math.isfinite(value) and value >= 1):
                raise ValueError(f"{name} must be a finite number >= 1, got {value}")
        if not (math.isfinite(self.kv_tokens) and self.kv_tokens > 0):
            raise ValueError(f"kv_tokens must be a finite number > 0, got {self.kv_tokens}")
        if not all(math.isfinite(part) and part >= 0 for part in self.step_time):
            raise ValueError(f"step_time must have finite parts >= 0, got {self.step_time}")
