"""Runs one replica: steps of vLLM, one after the other, each as long as the profile says."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from andante.domain.compiled import compiled_with, inner, uncounted
from andante.domain.scheduling.asking import FIT_EVERY
from andante.domain.scheduling.latency import Sums, observed
from andante.sim.batch import Batch, choose_batch
from andante.sim.decisions import Decide, Policy, look_up, look_up_refused, orders_of, step_time_of
from andante.sim.engine import MICROSECOND, Engine
from andante.sim.flight import land, launch
from andante.sim.held import held
from andante.sim.host_link import next_arrival
from andante.sim.host_loads import complete_copies, step_host
from andante.sim.host_memory import follow
from andante.sim.host_state import IN_LOADING
from andante.sim.kv_blocks import known_tokens
from andante.sim.readers import abort_impatient, arrive, deliver, tightest_pace
from andante.sim.requests import Requests
from andante.sim.state import (
    CONTEXT,
    FLIGHT,
    HANGS,
    IN_BATCH,
    IN_ENGINE,
    IN_FLIGHT,
    LASTS,
    LINE,
    NEXT_COMING,
    NEXT_LEAVING,
    NOW,
    PREFILLS,
    RECOMPUTED,
    SEEN,
    STEPS,
    WAKES,
    State,
)

_IDLE = 0.05
"""Seconds until the engine is asked again when it has requests and may serve none."""
_STUCK = 3600.0
"""Seconds without a step, though requests wait and no more come, after which a run ends."""


@uncounted
def step_seconds(engine: Engine, batch: Batch) -> float:
    """`StepTimeCoefficients.step_seconds` of the batch."""
    times = engine.step_time
    return MICROSECOND * (
        times.fixed_us
        + (times.prefill_step_us if batch.prefill > 0 else 0.0)
        + max(times.weight_floor_us, times.token_us * (batch.prefill + batch.decoding))
        + times.pair_us * batch.pairs
        + times.decode_seq_us * batch.decoding
        + times.context_token_us * batch.context
    )


@uncounted
def _seen_by_fit(requests: Requests, state: State, batch: Batch) -> tuple[float, float, float]:
    """Prefill tokens, decoding sequences and their context, as `andante_vllm.step_books` counts them."""
    running, context = state.counts[IN_BATCH], state.counts[CONTEXT]
    for place in range(state.host.counts[IN_LOADING]):
        context -= known_tokens(requests, state, state.host.loading[place])
    if batch.prefill == 0 and state.counts[PREFILLS] == state.host.counts[IN_LOADING] and batch.continued == running:
        return 0.0, float(batch.decoding), float(context)
    prefill = decoding = 0
    for place in range(running):
        request = state.batch[place]
        tokens = state.step_tokens[request]
        starts = place >= batch.continued
        if starts or tokens > 1:
            prefill += tokens
        elif tokens == 1:
            decoding += 1
        if starts or tokens > 1 or state.prefilling[request]:
            context -= known_tokens(requests, state, request)
    return float(prefill), float(decoding), float(max(context, 0))


@inner
def _fit(state: State, sums: Sums, step: int) -> None:
    """Learn from the step at the place `step` of `State.flights`."""
    flight = state.flights[step * FLIGHT : (step + 1) * FLIGHT]
    prefill, decoding, context, seconds = flight[SEEN], flight[SEEN + 1], flight[SEEN + 2], flight[LASTS]
    # Most steps are plain decode steps, which give the fit no new information.
    if prefill == 0 and state.counts[STEPS] % FIT_EVERY != 0:
        return
    line = observed(sums, step_time_of(state), prefill, decoding, context, seconds)
    clocks = state.clocks
    clocks[LINE], clocks[LINE + 1], clocks[LINE + 2], clocks[LINE + 3] = line


@compiled_with(Path(__file__).parent)
def advance(
    decide: Decide, requests: Requests, engine: Engine, state: State, policy: Policy, sums: Sums, until: float
) -> bool:
    """Run until no request is left or, between two steps, `until` seconds have passed; whether any request is left.

    `state`, `sums` and what `policy` has learned are changed. The time when requests are left is at least `until`; what
    happens at that time is left for the next call, so a run in parts is the same run.
    """
    requests, engine, state = held(requests), held(engine), held(state)
    counts, clocks, comes = state.counts, state.clocks, state.comes
    idle_since = clocks[NOW]
    while clocks[NOW] < until:
        now = clocks[NOW]
        while counts[NEXT_COMING] >= 0 and comes[counts[NEXT_COMING]] <= now:
            if engine.host_blocks > 0 and policy.asked:  # vLLM alone tells its host memory of the first stored block
                follow(state.host, counts[NEXT_COMING])
            arrive(requests, engine, state)
            clocks[WAKES] = now
        upcoming = comes[counts[NEXT_COMING]] if counts[NEXT_COMING] >= 0 else math.inf
        if now < clocks[WAKES]:
            clocks[NOW] = min(upcoming, clocks[WAKES], until)
            continue
        abort_impatient(requests, engine, state)
        if counts[IN_ENGINE] == 0 and counts[IN_FLIGHT] == 0:
            if engine.host_blocks > 0:
                step_host(engine, state, now)
            if upcoming == math.inf:
                complete_copies(state, math.inf)  # the reader of the last request may have left during its load
                return False
            clocks[NOW] = idle_since = min(upcoming, until)
            complete_copies(state, np.nextafter(clocks[NOW], now))
            continue
        if counts[HANGS]:
            clocks[NOW] = min(upcoming, clocks[NEXT_LEAVING], until)
            continue
        tokens, planned = engine.max_step_tokens, False
        admit = state.present[:0]
        if policy.asked:
            planned, admit, tokens = orders_of(decide, requests, engine, state, policy, tightest_pace(requests, state))
        batch = choose_batch(requests, engine, state, tokens, planned, admit)
        if policy.asked:
            for place in range(batch.continued, counts[IN_BATCH]):
                look_up(requests, engine, state, state.batch[place])
            if planned:
                look_up_refused(requests, engine, state, admit)
        begins = now
        if engine.host_blocks > 0:
            begins = step_host(engine, state, now)
        learns = policy.asked and policy.learns_step_time
        if batch.prefill + batch.decoding > 0:
            seen = _seen_by_fit(requests, state, batch) if learns else (0.0, 0.0, 0.0)
            launch(engine, state, begins, step_seconds(engine, batch), seen)
            counts[STEPS] += 1
            counts[RECOMPUTED] += batch.recomputed
            if counts[IN_FLIGHT] < engine.steps_in_flight:
                continue
        elif counts[IN_FLIGHT] == 0:
            clocks[WAKES] = now + _IDLE
            if engine.host_blocks > 0:
                complete_copies(state, now)
                clocks[WAKES] = min(clocks[WAKES], next_arrival(state.host))
            if now - idle_since > _STUCK and upcoming == math.inf:
                return True
            continue
        step = land(engine, state)
        idle_since = clocks[NOW]
        deliver(requests, engine, state, step, policy.lengths, policy.asked and policy.learns_lengths)
        if engine.host_blocks > 0:
            complete_copies(state, clocks[NOW])
        if learns:
            _fit(state, sums, step)
    return bool(counts[IN_ENGINE] > 0 or counts[NEXT_COMING] >= 0)
