"""Defines a scheduling policy's input and output: a snapshot in arrays, and a plan for the next step.

vLLM's adapter and the cluster simulator fill the same view and carry out the same plan, so the policy that is simulated
is the policy that serves. This module uses no engine, no clock and no request objects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np

from andante.domain.compiled import Bools, Floats, Ints, Table
from andante.domain.step_time import LinearStepTime

Objective = Literal["mean", "maxmin", "perfect"]
"""What a policy maximises: the mean QoE, the worst QoE, or the number of requests with perfect QoE."""

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
    """Whether the request holds KV and a slot; other requests wait."""
    elapsed = _Row(ELAPSED)
    """Seconds since the request was received."""
    expected_ttft = _Row(EXPECTED_TTFT)
    """τ0; infinite for batch requests."""
    seconds_per_token = _Row(SECONDS_PER_TOKEN)
    """1/p of the reader; 0 for batch requests."""
    deadline = _Row(DEADLINE)
    """End-to-end deadline since the request was received; NaN for a reader."""
    weight = _Row(WEIGHT)
    """Weight of the request's class."""
    delivered = _Row(DELIVERED)
    """n: tokens delivered."""
    lag = _Row(LAG)
    """A_n - I_n: how far reading is behind its ideal."""
    delay_area = _Row(DELAY_AREA)
    """S_delay of the delivered tokens, token-seconds."""
    context = _Row(CONTEXT)
    """Known tokens: prompt and answer so far. Each step reads all of them, shared or not."""
    kept = _Row(KEPT)
    """Tokens whose KV the prefix cache or the host's memory holds: they need not be computed if the request starts.

    For a running request, the prefix cache's part is `shared`: the KV that other requests hold too.
    """
    shared = _Row(SHARED)
    """Tokens whose KV other requests hold in the same blocks: they need no own room, and a preemption frees none."""
    remaining = _Row(REMAINING)
    """Expected tokens still to come, >= 1."""
    preemptions = _Row(PREEMPTIONS)
    """Number of preemptions so far."""
    prefilling = _Flag(PREFILLING)
    """Whether the request runs with an unfinished prefill: no token yet, so never a victim."""

    def __post_init__(self) -> None:
        """Raises TypeError for an array that compiled code, which does not check types, would misread."""
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
    """The engine's present resources. A tuple for compiled code: the types must be exactly these."""

    now: float
    """Seconds on any clock that does not go back."""
    kv_capacity: float
    """Tokens that the KV cache would hold with one kind of full attention."""
    kv_free: float
    """Tokens in free blocks."""
    block_size: int
    max_seqs: int
    max_step_tokens: int
    """Most tokens that one step computes, without draft tokens."""
    unfinished_prefill: float
    """Tokens of running requests that must still be prefilled."""
    step_time: LinearStepTime
    cached_share: float
    """Share of a preempted request's tokens that the prefix cache is expected to hold when it comes back."""
    tightest_pace: float
    """Most demanding pace among the requests in the engine, tokens/s; 0 without readers."""
    admitted: float
    """Requests that the engine has started so far; NaN without a count: then all planned admissions count as made."""
    kv_groups: Table
    """The KV of a token for each kind of attention: `andante.domain.scheduling.kv_groups`."""
    tokens_per_step: float = 1.0
    """Mean tokens per decoding sequence and step, >= 1; more than 1 with speculative decoding."""
    draft_slots: int = 0
    """Additional KV tokens of a decoding sequence for draft tokens; 0 without speculative decoding."""


class Plan(NamedTuple):
    """The actions for the next step; indices into the view's arrays."""

    admit: Ints
    """Waiting requests that may start, best first; the others stay where they are."""
    preempt: Ints = NOBODY
    """Running requests to preempt now."""
    victims: Ints = NOBODY
    """Running requests to preempt first if the engine is out of KV blocks within the step, first victim first."""
    step_tokens: int | None = None
    """Most tokens that the step computes, without draft tokens, so that prefill does not break the readers' pace.

    None: the engine's limit.
    """
    standing: bool = True
    """Whether a plan without an admission and a preemption holds until the engine's room changes; False: ask the policy
    again before the next step."""


class SchedulingPolicy(Protocol):
    """Chooses the requests to serve. Pure except for its own state: the same views in order give the same plans."""

    def decide(self, requests: RequestView, engine: EngineView) -> Plan | None:
        """The plan for the next step; None: no resource is scarce, use the engine's own order."""
        ...
