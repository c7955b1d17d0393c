"""Runs a workload on one simulated replica: requests in, what became of each of them out."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from andante.domain.compiled import Bools, Floats, Ints
from andante.domain.scheduling import qoe_plan
from andante.domain.scheduling.kv_groups import ONE_GROUP
from andante.domain.scheduling.latency import OnlineStepTime
from andante.domain.scheduling.lengths import LengthEstimator
from andante.domain.scheduling.qoe_numbers import CREDITED_UNTIL, MEMORIES, Settings
from andante.domain.scheduling.qoe_settings import QoEPolicySettings
from andante.domain.step_time import DEFAULT_STEP_TIME, LinearStepTime
from andante.sim.decisions import Decide, Policy
from andante.sim.engine import Engine
from andante.sim.host_state import ABSENT, CHUNK, HELD, LOADS, STATUS
from andante.sim.replica import advance
from andante.sim.requests import Requests
from andante.sim.state import (
    BUSY,
    BY_POLICY,
    DECISIONS,
    ENDED,
    FREE,
    IN_BATCH,
    IN_ENGINE,
    LEFT,
    LINE,
    NOW,
    PREEMPTIONS,
    RECOMPUTED,
    STEPS,
    State,
    send_all,
)


class SimulationError(RuntimeError):
    """A run that no engine could have made: requests or KV blocks are lost, or nobody is served any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduling:
    """Andante's scheduler with a policy."""

    decide: Decide = qoe_plan.decide
    """A compiled function of these types; any module may define one."""
    settings: QoEPolicySettings = field(default_factory=QoEPolicySettings)
    step_time: LinearStepTime = DEFAULT_STEP_TIME
    """Where the fit starts; `LinearStepTime.from_profile` for an engine that knows its profile."""
    learns_step_time: bool = True
    learns_lengths: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What happened to the requests; arrays of shape (requests,), times in seconds."""

    end: float
    """When the last request ended, from the start."""
    steps: int
    busy: float
    """Seconds in steps."""
    decisions: int
    """How often the policy was asked for a new plan."""
    all_preemptions: int
    by_policy: int
    """Preemptions that the policy chose; the others were for want of KV blocks."""
    recomputed_tokens: int
    """Prefill tokens after a preemption; what the prefix cache still held is not among them."""
    tokens: Ints
    """Delivered tokens."""
    first_token: Floats
    """Since the arrival; NaN without a token."""
    last_token: Floats
    """The same of the last token."""
    finish: Floats
    """When the request ended or its reader left, from the start."""
    left: Bools
    """Whether the reader left before the end of the answer."""
    lag: Floats
    """A_n - I_n of the last token: `andante.domain.qoe`."""
    delay_area: Floats
    """S_delay, token-seconds."""
    preemptions: Ints
    step_time: LinearStepTime
    """The step time as the policy had fitted it at the end."""
    token_times: tuple[NDArray[np.float64], ...] | None
    """Of each request the times of its tokens since the arrival; None: not asked for."""


def simulate(
    requests: Requests, engine: Engine, scheduling: Scheduling | None = None, *, record_times: bool = False
) -> Outcome:
    """Serve `requests` to their end on one replica. `scheduling` None: vLLM's own.

    The same arguments give the same outcome. `record_times` keeps the time of each token: 8 bytes for each.
    Raises ValueError for a request that the KV cache cannot hold, SimulationError where the run went wrong.
    """
    check_fits(requests, engine)
    chosen = scheduling or Scheduling()
    policy = policy_for(requests, chosen, asked=scheduling is not None)
    fit = OnlineStepTime(chosen.step_time)
    state = State.of(requests, engine, record_times=record_times)
    send_all(state)
    state.clocks[LINE : LINE + 4] = chosen.step_time
    if advance(chosen.decide, requests, engine, state, policy, fit.sums, math.inf):
        raise SimulationError(f"nobody is served any more, {int(state.counts[IN_ENGINE])} requests wait")
    check_conservation(requests, engine, state)
    return _outcome(requests, state)


def check_fits(requests: Requests, engine: Engine) -> None:
    """Raises ValueError naming the first request that the KV cache of `engine` cannot hold."""
    longest = requests.prompt + requests.output
    if requests.arrival.size and longest.max() > engine.blocks * engine.block_size:
        which = int(np.argmax(longest > engine.blocks * engine.block_size))
        raise ValueError(f"request {which}: the KV cache cannot hold its {longest[which]} tokens")


def check_conservation(requests: Requests, engine: Engine, state: State) -> None:
    """Raises SimulationError unless, after a run, every request ended once and every block is free again."""
    counts, status, pool = state.counts, state.status, state.pool
    if not np.isin(status, (ENDED, LEFT)).all():
        raise SimulationError(f"request {int(np.argmin(np.isin(status, (ENDED, LEFT))))} has no end")
    answered = status == ENDED
    if (state.delivered[answered] != requests.output[answered]).any():
        raise SimulationError("an answer has more or fewer tokens than it should")
    if counts[FREE] != engine.blocks or pool.references.any() or _queued(state) != engine.blocks:
        raise SimulationError(f"{engine.blocks - counts[FREE]} of {engine.blocks} KV blocks are lost")
    if counts[IN_BATCH] or counts[IN_ENGINE] or state.readers.any():
        raise SimulationError(f"{counts[IN_ENGINE]} requests are still in the engine")
    chunks = state.host.chunks
    held = int((chunks[STATUS::CHUNK] != ABSENT).sum())
    if held != state.host.counts[HELD] or held > engine.host_blocks or chunks[LOADS::CHUNK].any():
        raise SimulationError(f"the host's memory holds {held} KV blocks of at most {engine.host_blocks}")


def _queued(state: State) -> int:
    following = state.pool.following
    ends = following.size - 1
    count, block = 0, following[ends]
    while block != ends and count <= ends:
        count, block = count + 1, following[block]
    return count


def policy_for(requests: Requests, scheduling: Scheduling, *, asked: bool) -> Policy:
    """What a new engine with `scheduling` knows. `asked` False: vLLM's own scheduling."""
    classes = int(requests.class_index.max(initial=0)) + 1
    memory = np.zeros(MEMORIES)
    memory[CREDITED_UNTIL] = math.nan
    return Policy(
        asked=asked,
        settings=Settings.of(scheduling.settings),
        memory=memory,
        lengths=LengthEstimator(classes).histograms,
        kv_groups=ONE_GROUP,
        learns_lengths=scheduling.learns_lengths,
        learns_step_time=scheduling.learns_step_time,
    )


def _outcome(requests: Requests, state: State) -> Outcome:
    counts, clocks, starts = state.counts, state.clocks, state.first_time
    times = None
    if state.token_times.size or not requests.arrival.size:
        ends = starts[:-1] + state.delivered
        times = tuple(state.token_times[start:end] for start, end in zip(starts[:-1], ends, strict=True))
    return Outcome(
        end=float(clocks[NOW]),
        steps=int(counts[STEPS]),
        busy=float(clocks[BUSY]),
        decisions=int(counts[DECISIONS]),
        all_preemptions=int(counts[PREEMPTIONS]),
        by_policy=int(counts[BY_POLICY]),
        recomputed_tokens=int(counts[RECOMPUTED]),
        tokens=state.delivered,
        first_token=state.first,
        last_token=state.last,
        finish=state.gone,
        left=state.status == LEFT,
        lag=state.lag,
        delay_area=state.area,
        preemptions=state.preemptions,
        step_time=LinearStepTime(*clocks[LINE : LINE + 4].tolist()),
        token_times=times,
    )
