"""What a scheduling policy sees, and what it answers: a snapshot in arrays, and a plan for the next step.

vLLM's adapter and the cluster simulator fill the same view and carry out the same plan, so the policy that is simulated
is the policy that serves. Nothing here knows an engine, a clock or a request object.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from andante.domain.scheduling.latency import LinearStepTime

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Objective = Literal["mean", "maxmin", "perfect"]
"""What a policy maximises: the mean QoE, the worst, or the number of requests with perfect QoE."""

NOBODY: Ints = np.empty(0, dtype=np.int64)
NOBODY.setflags(write=False)


def _nobody() -> Ints:
    return NOBODY


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestView:
    """All requests in the engine, in order of arrival; every array of shape (requests,), times in seconds."""

    running: Bools
    """Whether it holds KV and a slot; the others wait."""
    elapsed: Floats
    """Since the request was received."""
    expected_ttft: Floats
    """τ0; infinite for batch requests."""
    seconds_per_token: Floats
    """1/p of the reader; 0 for batch requests."""
    deadline: Floats
    """End-to-end, since it was received; NaN where the consumer reads."""
    weight: Floats
    delivered: Floats
    """n: tokens delivered."""
    lag: Floats
    """A_n - I_n: how far reading has fallen behind its ideal."""
    delay_area: Floats
    """S_delay of the delivered tokens, token-seconds."""
    context: Floats
    """Tokens known: prompt and answer so far. The KV of a running request, what a waiting one must prefill."""
    kept: Floats
    """Tokens whose KV the host's memory holds: they need not be computed should the request start again."""
    remaining: Floats
    """Expected tokens still to come, >= 1."""
    preemptions: Floats
    """How often it was taken off already."""
    prefilling: Bools
    """Running, with a prefill that has not ended: no progress yet, so never a victim."""

    def __len__(self) -> int:
        return int(self.running.size)

    def of(self, indices: Ints) -> RequestView:
        """Those requests alone."""
        return RequestView(
            running=self.running[indices],
            elapsed=self.elapsed[indices],
            expected_ttft=self.expected_ttft[indices],
            seconds_per_token=self.seconds_per_token[indices],
            deadline=self.deadline[indices],
            weight=self.weight[indices],
            delivered=self.delivered[indices],
            lag=self.lag[indices],
            delay_area=self.delay_area[indices],
            context=self.context[indices],
            kept=self.kept[indices],
            remaining=self.remaining[indices],
            preemptions=self.preemptions[indices],
            prefilling=self.prefilling[indices],
        )

    @property
    def batch_work(self) -> Bools:
        """Requests without any expectation: throughput only."""
        return np.isinf(self.expected_ttft) & np.isnan(self.deadline)


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
