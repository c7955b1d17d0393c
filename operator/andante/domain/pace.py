"""Describes what a user expects of a stream: when it starts, and how fast the user reads or listens.

The engine's meter, the scheduler, the scaler and the simulator use the same expectations, so that all follow one
objective.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

MAX_SECONDS = 1e9
"""Largest accepted time or expectation, seconds (31 years). It is below today's Unix time, so that a Unix time that is
passed by mistake instead of seconds since arrival is refused."""
MIN_PACE, MAX_PACE = 1e-6, 1e6
"""Smallest and largest accepted pace, tokens per second (0 means a batch request). With these limits, results computed
from a pace or its inverse are finite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What the user of one request expects.

    With a `deadline` the request is an *agent's*: a program needs the whole answer; QoE is 1 when the last token came
    by the deadline and 0 otherwise. With `pace` 0 the request is a *batch* request: only throughput counts, never QoE.
    """

    expected_ttft: float
    """τ0: seconds from arrival until the user expects the first visible token; >= 0."""
    pace: float
    """p: tokens per second that the user consumes; >= 0 (0: batch)."""
    deadline: float | None = None
    """End-to-end deadline in seconds since arrival (agent classes), else None."""

    def __post_init__(self) -> None:
        if not 0 <= self.expected_ttft <= MAX_SECONDS:
            raise ValueError(f"expected_ttft must be seconds from 0 to {MAX_SECONDS:g}, got {self.expected_ttft}")
        if self.pace != 0 and not MIN_PACE <= self.pace <= MAX_PACE:
            raise ValueError(f"pace must be 0 or tokens/s from {MIN_PACE:g} to {MAX_PACE:g}, got {self.pace}")
        if self.deadline is not None and not 0 < self.deadline <= MAX_SECONDS:
            raise ValueError(f"deadline must be seconds > 0 and at most {MAX_SECONDS:g}, got {self.deadline}")

    @property
    def counts_in_qoe(self) -> bool:
        """False for batch requests, which are measured only by throughput."""
        return self.pace > 0 or self.deadline is not None


class ClientExpectations(StrEnum):
    """Whether clients may set expectations that differ from their class's."""

    IGNORE = "Ignore"
    """Clients set nothing: the class decides."""
    RELAX = "Relax"
    """Clients may ask for less: a later first token, a slower pace. A higher demand is reduced to the class's."""
    ALLOW = "Allow"
    """Clients may ask for anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QoEClass:
    """A named kind of user, with the scheduler's weight for the QoE of these users."""

    name: str
    expected_ttft: float
    """Seconds until the first token is expected."""
    pace: float
    """Tokens per second; 0 for batch."""
    weight: float = 1.0
    """Relative weight in the scheduler's objective; > 0."""
    expected_prefill_rate: float | None = None
    """Prompt tokens per second: for a long prompt τ0 grows to prompt_tokens / this rate (Andes v2 uses 5000)."""
    deadline: float | None = None
    """End-to-end deadline in seconds, for programs (agent classes)."""
    client_expectations: ClientExpectations = ClientExpectations.RELAX
    """Whether clients of this class may set other expectations."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise ValueError(f"weight must be a finite number > 0, got {self.weight}")
        if self.expected_prefill_rate is not None and not (
            math.isfinite(self.expected_prefill_rate) and self.expected_prefill_rate > 0
        ):
            raise ValueError(f"expected_prefill_rate must be finite tokens/s > 0, got {self.expected_prefill_rate}")
        Expectation(expected_ttft=self.expected_ttft, pace=self.pace, deadline=self.deadline)

    def expectation(self, prompt_tokens: int = 0) -> Expectation:
        """The expectation of a request with `prompt_tokens` prompt tokens: τ0 = max(τ0, prompt / prefill rate).

        Raises ValueError for a negative `prompt_tokens`.
        """
        if prompt_tokens < 0:
            raise ValueError(f"prompt_tokens must be >= 0, got {prompt_tokens}")
        ttft = self.expected_ttft
        if self.expected_prefill_rate is not None:
            ttft = max(ttft, prompt_tokens / self.expected_prefill_rate)
        return Expectation(expected_ttft=ttft, pace=self.pace, deadline=self.deadline)

    def expectation_of_client(self, usual: Expectation, *, ttft: float | None, pace: float | None) -> Expectation:
        """The expectation that counts for a client which asks for `ttft` (s) and `pace` (tokens/s); None: not set.

        `usual` is the class's expectation of this request. The deadline is always the class's.
        """
        if self.client_expectations is ClientExpectations.IGNORE:
            return usual
        own_ttft = usual.expected_ttft if ttft is None else ttft
        own_pace = usual.pace if pace is None else pace
        if self.client_expectations is ClientExpectations.RELAX:
            own_ttft, own_pace = max(own_ttft, usual.expected_ttft), min(own_pace, usual.pace)
        return Expectation(expected_ttft=own_ttft, pace=own_pace, deadline=usual.deadline)


# Sources: Andes' reading and listening averages (arXiv 2404.16283), Brysbaert 2019 for silent reading (238 wpm),
# MLPerf Inference's interactive limits (450 ms, 40 ms a token); ~1.3 tokens per English word.
PRESETS: Mapping[str, QoEClass] = MappingProxyType(
    {
        c.name: c
        for c in (
            QoEClass(name="reading", expected_ttft=1.0, pace=4.8),
            QoEClass(name="reading-fast", expected_ttft=1.0, pace=7.0),
            QoEClass(name="voice", expected_ttft=0.5, pace=3.3),
            QoEClass(name="chat-interactive", expected_ttft=0.45, pace=25.0),
            QoEClass(name="code", expected_ttft=0.5, pace=25.0),
            QoEClass(name="agent", expected_ttft=1.0, pace=25.0, deadline=30.0),
            QoEClass(name="batch", expected_ttft=0.0, pace=0.0),
        )
    }
)
