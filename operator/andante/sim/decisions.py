"""Asks the policy before a step, as `andante_vllm` does: what it is shown, when it is asked, how long a plan stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from andante.domain.compiled import Floats, Ints, Table, inner, uncounted
from andante.domain.scheduling import asking
from andante.domain.scheduling.lengths import Histograms, expected_rest
from andante.domain.scheduling.qoe_numbers import HELD_BACK, Settings
from andante.domain.scheduling.room import NO_LIMIT
from andante.domain.scheduling.view import (
    CONTEXT as ROW_CONTEXT,
)
from andante.domain.scheduling.view import (
    DEADLINE,
    DELAY_AREA,
    DELIVERED,
    ELAPSED,
    EXPECTED_TTFT,
    KEPT,
    LAG,
    NUMBERS,
    PREFILLING,
    REMAINING,
    SECONDS_PER_TOKEN,
    SHARED,
    WEIGHT,
    EngineView,
)
from andante.domain.scheduling.view import (
    PREEMPTIONS as ROW_PREEMPTIONS,
)
from andante.domain.scheduling.view import (
    RUNNING as ROW_RUNNING,
)
from andante.domain.step_time import LinearStepTime
from andante.sim.batch import preempt
from andante.sim.engine import Engine
from andante.sim.host_state import IN_LOADING, LENGTH, ROW, SHOWN
from andante.sim.kv_blocks import found_blocks, found_in_use, held_by_others, known_tokens
from andante.sim.passed_over import hide_passed_over, refresh, seen
from andante.sim.requests import Requests
from andante.sim.state import (
    ADMITTED,
    ARRIVED,
    BY_POLICY,
    CACHED_SHARE,
    CONTEXT,
    DECISIONS,
    FREE,
    GONE,
    IN_BATCH,
    IN_ENGINE,
    LINE,
    LOADING,
    NEXT_LOOKUP,
    NOW,
    PREFILLS,
    RUNNING,
    STANDING_BATCH,
    STANDING_FREE,
    STANDING_GONE,
    STANDING_PREFILL,
    STANDING_STEPS,
    STANDING_TOKENS,
    WAITING,
    State,
)

Decide = Callable[[Table, EngineView, Settings, Floats], tuple[bool, Ints, Ints, Ints, int]]
"""A policy: `andante.domain.scheduling.qoe_plan.decide`, or another compiled function of the same types."""


class Policy(NamedTuple):
    """How the policy is asked, and what it has learned."""

    asked: bool
    """False: vLLM's own scheduling."""
    settings: Settings
    memory: Floats
    lengths: Histograms
    kv_groups: Table
    learns_lengths: bool
    learns_step_time: bool


class Orders(NamedTuple):
    """What the policy wants of the step."""

    planned: bool
    """Whether there is a plan; else vLLM's own order."""
    admit: Ints
    """Waiting requests that may start, best first."""
    tokens: int
    """Most tokens of the step."""


@uncounted
def step_time_of(state: State) -> LinearStepTime:
    """The step time as fitted so far."""
    clocks = state.clocks
    return LinearStepTime(clocks[LINE], clocks[LINE + 1], clocks[LINE + 2], clocks[LINE + 3])


@uncounted
def look_up(requests: Requests, engine: Engine, state: State, request: int) -> None:
    """Note how much of the request the prefix cache holds now."""
    if not engine.prefix_caching or state.status[request] == LOADING:
        return
    if state.status[request] == RUNNING:
        state.cached[request] = state.shared[request] = held_by_others(state, request) * engine.block_size
        return
    found = found_blocks(requests, engine, state, request, known_tokens(requests, state, request))
    state.cached[request] = found * engine.block_size
    state.shared[request] = found_in_use(requests, engine, state, request, found) * engine.block_size


@inner
def orders_of(
    decide: Decide, requests: Requests, engine: Engine, state: State, policy: Policy, tightest_pace: float
) -> Orders:
    """Ask the policy if a resource may be scarce, and carry out its preemptions."""
    counts, clocks = state.counts, state.clocks
    nobody = np.empty(0, dtype=np.int64)
    stock = Orders(False, nobody, engine.max_step_tokens)
    waiting = counts[IN_ENGINE] - counts[IN_BATCH] - state.host.counts[IN_LOADING]
    unfinished = _unfinished_prefill(requests, state)
    if not waiting and not _tight(engine, state, unfinished, tightest_pace, policy.kv_groups.shape[0]):
        return stock
    if engine.host_blocks > 0:
        refresh(state.host, state.present[: counts[IN_ENGINE]])
    free = float(counts[FREE] * engine.block_size)
    changes = counts[ARRIVED] + counts[GONE] + state.host.counts[SHOWN]
    unchanged = (
        counts[STANDING_GONE] == changes
        and counts[STANDING_BATCH] == counts[IN_BATCH]
        and clocks[STANDING_PREFILL] == unfinished
        and free <= clocks[STANDING_FREE]
    )
    if counts[STANDING_STEPS] > 0 and unchanged:
        counts[STANDING_STEPS] -= 1
        _line_up(state)
        return Orders(True, nobody, counts[STANDING_TOKENS])
    counts[STANDING_STEPS] = 0
    counts[DECISIONS] += 1
    view = EngineView(
        clocks[NOW], float(engine.blocks * engine.block_size), free, engine.block_size, engine.max_seqs,
        engine.max_step_tokens, unfinished, step_time_of(state), clocks[CACHED_SHARE], tightest_pace,
        float(counts[ADMITTED]), policy.kv_groups, 1.0, 0,
    )  # fmt: skip
    present = seen(state.host, state.present[: counts[IN_ENGINE]])
    if present.size == 0:
        return stock
    numbers = _view(requests, engine, state, policy, present)
    some, admit, leave, victims, step_tokens = decide(numbers, view, policy.settings, policy.memory)
    if not some:
        return stock
    _look_up_in_turn(requests, engine, state, present)
    tokens = engine.max_step_tokens if step_tokens == NO_LIMIT else min(step_tokens, engine.max_step_tokens)
    for place in range(victims.size):
        state.victims[place] = present[victims[place]]
    if victims.size < state.victims.size:
        state.victims[victims.size] = -1
    # A plan that only gathers prefill does not stand: `QoEPolicy` says so to the engine.
    if admit.size == 0 and leave.size == 0 and policy.memory[HELD_BACK] == 0:
        counts[STANDING_STEPS], counts[STANDING_TOKENS] = asking.STANDING_STEPS, tokens
        counts[STANDING_GONE], counts[STANDING_BATCH] = changes, counts[IN_BATCH]
        clocks[STANDING_PREFILL], clocks[STANDING_FREE] = unfinished, free
    for index in leave:
        if state.status[present[index]] != RUNNING:  # its KV is on its way
            continue
        place = 0
        while state.batch[place] != present[index]:
            place += 1
        preempt(requests, engine, state, place)
        counts[BY_POLICY] += 1
    _line_up(state)
    return Orders(True, present[admit], tokens)


@uncounted
def look_up_refused(requests: Requests, engine: Engine, state: State, admit: Ints) -> None:
    """After the step: look up the requests that the plan admitted and vLLM did not start."""
    looked = 0
    for request in admit:
        if state.status[request] != WAITING:
            continue
        if engine.host_blocks > 0:
            hide_passed_over(state.host, request)
        if looked < asking.LOOKED_UP_EACH_STEP:
            look_up(requests, engine, state, request)
            looked += 1


@uncounted
def _unfinished_prefill(requests: Requests, state: State) -> float:
    tokens = 0
    if state.counts[PREFILLS]:
        for place in range(state.counts[IN_BATCH]):
            request = state.batch[place]
            if state.prefilling[request]:
                tokens += known_tokens(requests, state, request) - state.computed[request]
        for place in range(state.host.counts[IN_LOADING]):
            request = state.host.loading[place]
            tokens += known_tokens(requests, state, request) - state.computed[request]
    return float(tokens)


@uncounted
def _tight(engine: Engine, state: State, unfinished: float, tightest_pace: float, groups: int) -> bool:
    """Whether the next steps may be out of KV blocks, or too slow for readers."""
    running = state.counts[IN_BATCH]
    if not running:
        return False
    if state.counts[FREE] * engine.block_size < asking.TIGHT_BLOCKS * engine.block_size * groups * (1 + running):
        return True
    if tightest_pace <= 0:
        return False
    line = step_time_of(state)
    seconds = (
        line.base
        + line.prefill_token * min(unfinished, float(engine.max_step_tokens))
        + line.sequence * running
        + line.context_token * state.counts[CONTEXT]
    )
    return bool(seconds > asking.TIGHT_STEP / tightest_pace)


@inner
def _view(requests: Requests, engine: Engine, state: State, policy: Policy, present: Ints) -> Table:
    """`RequestView.numbers` of the requests in the engine."""
    now = state.clocks[NOW]
    view = np.empty((NUMBERS, present.size))
    for i, request in enumerate(present):
        known = float(known_tokens(requests, state, request))
        running = state.status[request] == RUNNING or state.status[request] == LOADING
        kept = state.cached[request]
        if engine.host_blocks > 0:
            kept = max(kept, state.host.rows[request * ROW + LENGTH] * engine.block_size)
        view[ROW_RUNNING, i] = 1.0 if running else 0.0
        view[ELAPSED, i] = max(now - requests.arrival[request], 0.0)
        view[EXPECTED_TTFT, i] = requests.expected_ttft[request]
        view[SECONDS_PER_TOKEN, i] = requests.seconds_per_token[request]
        view[DEADLINE, i] = requests.deadline[request]
        view[WEIGHT, i] = requests.weight[request]
        view[DELIVERED, i] = state.delivered[request]
        view[LAG, i] = state.lag[request]
        view[DELAY_AREA, i] = state.area[request]
        view[ROW_CONTEXT, i] = known
        view[KEPT, i] = min(float(kept), known)
        view[SHARED, i] = min(float(state.shared[request]), known)
        view[REMAINING, i] = expected_rest(
            policy.lengths,
            requests.class_index[request],
            float(state.delivered[request]),
            float(requests.longest[request]),
        )
        view[ROW_PREEMPTIONS, i] = state.preemptions[request]
        view[PREFILLING, i] = 1.0 if state.prefilling[request] else 0.0
    return view


@uncounted
def _look_up_in_turn(requests: Requests, engine: Engine, state: State, present: Ints) -> None:
    if not engine.prefix_caching:
        return
    start = state.counts[NEXT_LOOKUP]
    if start >= present.size:
        start = 0
    end = start + asking.LOOKED_UP_EACH_STEP
    state.counts[NEXT_LOOKUP] = end
    for request in present[start:end]:
        look_up(requests, engine, state, request)


@inner
def _line_up(state: State) -> None:
    """Put the plan's victims at the end of the batch, the first one last: vLLM preempts the last one first."""
    batch, running = state.batch, state.counts[IN_BATCH]
    count = 0
    for request in state.victims:
        if request < 0:
            break
        count += state.status[request] == RUNNING
    if not count:
        return
    chosen = np.empty(count, dtype=np.int64)
    place = count
    for request in state.victims:
        if request < 0:
            break
        if state.status[request] == RUNNING:
            place -= 1
            chosen[place] = request
    kept = 0
    for at in range(running):
        request = batch[at]
        if not (chosen == request).any():
            batch[kept] = request
            kept += 1
    for place in range(count):
        batch[kept + place] = chosen[place]
