"""What a scheduling policy sees, and what it answers: a snapshot in arrays, and a plan for the next step.

vLLM's adapter and the cluster simulator fill the same view and carry out the same plan, so the policy that is simulated
is the policy that serves. Nothing here knows an engine, a clock or a request object.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np

from andante.domain.compiled import Bools, Floats, Ints, Table
from andante.domain.step_time import LinearStepTime

Objective = Literal["mean", "maxmin", "perfect"]
"""What a policy maximises: the mean QoE, the worst, or the number of requests with perfect QoE."""

NOBODY: Ints = np.empty(0, dtype=np.int64)
NOBODY.setflags(write=False)


(
    RUNNING, ELAPSED, EXPECTED_TTFT, SECONDS_PER_TOKEN, DEADLINE, WEIGHT, DELIVERED, LAG, DELAY_AREA, CONTEXT, KEPT,
    SHARED, REMAINING, PREEMPTIONS, PREFILLING, NUMBERS,
) = range(16)  # fmt: skip
"""The rows of `RequestView.numbers`, each named as the property that it is, and how many there are."""


class _Property:
    """A property of `RequestView`: its row of `numbers`."""

    def __init__(self, number: int) -> None:
        self.number = number


class _Row(_Property):
    def __get__(self, view: RequestView, owner: type | None = None) -> Floats:
        row: Floats = view.numbers[self.number]
        return row


class _Flag(_Property):
    def __get__(self, view: RequestView, owner: type | None = None) -> Bools:
        flags: Bools = view.numbers[self.number] != 0
        return flags


@dataclass(frozen=True)
class RequestView:
    """All requests in the engine, in order of arrival; every property of shape (requests,), times in seconds."""

    numbers: Table
    """One row for each property, of shape (properties, requests): one array goes to compiled code faster than many."""

    running = _Flag(RUNNING)
    """Whether it holds KV and a slot; the others wait."""
    elapsed = _Row(ELAPSED)
    """Since the request was received."""
    expected_ttft = _Row(EXPECTED_TTFT)
    """τ0; infinite for batch requests."""
    seconds_per_token = _Row(SECONDS_PER_TOKEN)
    """1/p of the reader; 0 for batch requests."""
    deadline = _Row(DEADLINE)
    """End-to-end, since it was received; NaN where the consumer reads."""
    weight = _Row(WEIGHT)
    """Of its class."""
    delivered = _Row(DELIVERED)
    """n: tokens delivered."""
    lag = _Row(LAG)
    """A_n - I_n: how far reading has fallen behind its ideal."""
    delay_area = _Row(DELAY_AREA)
    """S_delay of the delivered tokens, token-seconds."""
    context = _Row(CONTEXT)
    """Tokens known: prompt and answer so far. What each step of it reads, whoever else holds the same KV."""
    kept = _Row(KEPT)
    """Tokens whose KV the prefix cache or the host's memory holds: they need not be computed should the request start.

    Of a running one, the prefix cache's share is what others hold as well.
    """
    shared = _Row(SHARED)
    """Tokens whose KV others hold in the same blocks: it takes no room of its own, and going would give none back."""
    remaining = _Row(REMAINING)
    """Expected tokens still to come, >= 1."""
    preemptions = _Row(PREEMPTIONS)
    """How often it was taken off already."""
    prefilling = _Flag(PREFILLING)
    """Running, with a prefill that has not ended: no progress yet, so never a victim."""

    def __post_init__(self) -> None:
        """Raises TypeError for an array that compiled code, which does not look, would misread."""
        numbers = self.numbers
        if numbers.dtype.char != "d" or not numbers.flags.c_contiguous or len(numbers) != NUMBERS or numbers.ndim != 2:
            raise TypeError(
                f"numbers: expected C-contiguous float64 of shape ({NUMBERS}, requests), "
                f"got {numbers.dtype} of shape {numbers.shape}"
            )

    @classmethod
    def of(cls, **columns: Floats | Bools) -> RequestView:
        """From all properties by name; raises TypeError where one is missing or unknown."""
        rows = {name: row.number for name, row in vars(cls).items() if isinstance(row, _Property)}
        if columns.keys() != rows.keys():
            raise TypeError(f"expected {sorted(rows)}, got {sorted(columns)}")
        return cls(np.array([columns[name] for name in sorted(rows, key=rows.__getitem__)], dtype=np.float64))

    def __len__(self) -> int:
        return int(self.numbers.shape[1])


class EngineView(NamedTuple):
    """The engine's resources at this moment. A tuple, as compiled code takes it: the types are exactly these."""

    now: float
    """Seconds on any clock that does not go back."""
    kv_capacity: float
    """Tokens that the KV cache holds, were all attention full and of one kind."""
    kv_free: float
    """Tokens in free blocks."""
    block_size: int
    max_seqs: int
    max_step_tokens: int
    """Tokens that one step computes at most, draft tokens aside."""
    unfinished_prefill: float
    """Tokens of running requests that are still to be prefilled."""
    step_time: LinearStepTime
    cached_share: float
    """Share of a preempted request's tokens that the prefix cache is expected to hold when it comes back."""
    tightest_pace: float
    """Most demanding pace among the requests in the engine, tokens/s; 0 when nobody reads."""
    admitted: float
    """Requests that the engine has started so far; NaN where it does not count: then a plan's admissions were made."""
    kv_groups: Table
    """What a token takes of each kind of KV cache: `andante.domain.scheduling.kv_groups`."""
    tokens_per_step: float = 1.0
    """Tokens that a step brings a decoding sequence, mean, >= 1; more than 1 with speculative decoding."""
    draft_slots: int = 0
    """Tokens of KV that a decoding sequence holds for draft tokens, beside its own; 0 without speculative decoding."""


class Plan(NamedTuple):
    """What to do in the next step; indices into the view's arrays."""

    admit: Ints
    """Waiting requests that may start, best first; the others stay where they are."""
    preempt: Ints = NOBODY
    """Running requests to take off now."""
    victims: Ints = NOBODY
    """Running requests to take off first should blocks run out within the step, first victim first."""
    step_tokens: int | None = None
    """Tokens that the step computes at most, draft tokens aside, so that prefill leaves the others their pace.

    None: the engine's limit.
    """


class SchedulingPolicy(Protocol):
    """Chooses whom to serve. Pure but for its own bookkeeping: the same views in the same order give the same plans."""

    def decide(self, requests: RequestView, engine: EngineView) -> Plan | None:
        """The plan for the next step; None: nothing is short, serve everybody in the engine's own order."""
        ...
