"""What a scheduling policy sees, and what it answers: a snapshot in arrays, and a plan for the next step.

vLLM's adapter and the cluster simulator fill the same view and carry out the same plan, so the policy that is simulated
is the policy that serves. Nothing here knows an engine, a clock or a request object.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from andante.domain.compiled import Bools, Floats, Ints, Table
from andante.domain.scheduling.latency import LinearStepTime

Objective = Literal["mean", "maxmin", "perfect"]
"""What a policy maximises: the mean QoE, the worst, or the number of requests with perfect QoE."""

NOBODY: Ints = np.empty(0, dtype=np.int64)
NOBODY.setflags(write=False)


def _nobody() -> Ints:
    return NOBODY


(
    RUNNING, ELAPSED, EXPECTED_TTFT, SECONDS_PER_TOKEN, DEADLINE, WEIGHT, DELIVERED, LAG, DELAY_AREA, CONTEXT, KEPT,
    REMAINING, PREEMPTIONS, PREFILLING, NUMBERS,
) = range(15)  # fmt: skip
"""The rows of `RequestView.numbers`, each named as the property that it is, and how many there are."""


@dataclass(frozen=True, slots=True)
class RequestView:
    """All requests in the engine, in order of arrival; every property of shape (requests,), times in seconds."""

    numbers: Table
    """One row for each property, of shape (properties, requests): one array goes to compiled code faster than many."""

    @classmethod
    def of(cls, **columns: Floats | Bools) -> RequestView:
        """From all properties by name; raises TypeError where one is missing or unknown."""
        names = [name for name in _PROPERTIES if name in columns]
        if len(names) != len(_PROPERTIES) or len(columns) != len(names):
            raise TypeError(f"expected {list(_PROPERTIES)}, got {sorted(columns)}")
        return cls(np.array([columns[name] for name in names], dtype=np.float64))

    def __len__(self) -> int:
        return int(self.numbers.shape[1])

    @property
    def running(self) -> Bools:
        """Whether it holds KV and a slot; the others wait."""
        answer: Bools = self.numbers[RUNNING] != 0
        return answer

    @property
    def elapsed(self) -> Floats:
        """Since the request was received."""
        row: Floats = self.numbers[ELAPSED]
        return row

    @property
    def expected_ttft(self) -> Floats:
        """τ0; infinite for batch requests."""
        row: Floats = self.numbers[EXPECTED_TTFT]
        return row

    @property
    def seconds_per_token(self) -> Floats:
        """1/p of the reader; 0 for batch requests."""
        row: Floats = self.numbers[SECONDS_PER_TOKEN]
        return row

    @property
    def deadline(self) -> Floats:
        """End-to-end, since it was received; NaN where the consumer reads."""
        row: Floats = self.numbers[DEADLINE]
        return row

    @property
    def weight(self) -> Floats:
        """Of its class."""
        row: Floats = self.numbers[WEIGHT]
        return row

    @property
    def delivered(self) -> Floats:
        """n: tokens delivered."""
        row: Floats = self.numbers[DELIVERED]
        return row

    @property
    def lag(self) -> Floats:
        """A_n - I_n: how far reading has fallen behind its ideal."""
        row: Floats = self.numbers[LAG]
        return row

    @property
    def delay_area(self) -> Floats:
        """S_delay of the delivered tokens, token-seconds."""
        row: Floats = self.numbers[DELAY_AREA]
        return row

    @property
    def context(self) -> Floats:
        """Tokens known: prompt and answer so far. The KV of a running request, what a waiting one must prefill."""
        row: Floats = self.numbers[CONTEXT]
        return row

    @property
    def kept(self) -> Floats:
        """Tokens whose KV the host's memory holds: they need not be computed should the request start again."""
        row: Floats = self.numbers[KEPT]
        return row

    @property
    def remaining(self) -> Floats:
        """Expected tokens still to come, >= 1."""
        row: Floats = self.numbers[REMAINING]
        return row

    @property
    def preemptions(self) -> Floats:
        """How often it was taken off already."""
        row: Floats = self.numbers[PREEMPTIONS]
        return row

    @property
    def prefilling(self) -> Bools:
        """Running, with a prefill that has not ended: no progress yet, so never a victim."""
        answer: Bools = self.numbers[PREFILLING] != 0
        return answer


_PROPERTIES = (
    "running", "elapsed", "expected_ttft", "seconds_per_token", "deadline", "weight", "delivered", "lag", "delay_area",
    "context", "kept", "remaining", "preemptions", "prefilling",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineView:
    """The engine's resources at this moment."""

    now: float
    """Seconds on any clock that does not go back."""
    kv_capacity: float
    """Tokens that the KV cache holds."""
    kv_free: float
    """Tokens in free blocks."""
    block_size: int
    max_seqs: int
    max_step_tokens: int
    """Tokens that one step computes at most."""
    unfinished_prefill: float
    """Tokens of running requests that are still to be prefilled."""
    step_time: LinearStepTime
    cached_share: float
    """Share of a preempted request's tokens that the prefix cache is expected to hold when it comes back."""
    tightest_pace: float
    """Most demanding pace among the requests in the engine, tokens/s; 0 when nobody reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do in the next step; indices into the view's arrays."""

    admit: Ints
    """Waiting requests that may start, best first; the others stay where they are."""
    preempt: Ints = field(default_factory=_nobody)
    """Running requests to take off now."""
    pause: Ints = field(default_factory=_nobody)
    """Running requests to leave out of this step; they keep their KV."""
    victims: Ints = field(default_factory=_nobody)
    """Running requests to take off first should blocks run out within the step, first victim first."""
    step_tokens: int | None = None
    """Tokens that the step computes at most, so that prefill leaves the others their pace; None: the engine's limit."""


class SchedulingPolicy(Protocol):
    """Chooses whom to serve. Pure but for its own bookkeeping: the same views in the same order give the same plans."""

    def decide(self, requests: RequestView, engine: EngineView) -> Plan | None:
        """The plan for the next step; None: nothing is short, serve everybody in the engine's own order."""
        ...
