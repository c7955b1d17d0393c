"""Computes each request's remaining work, gain and cost; arrays of shape (requests,)."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from andante.domain.compiled import Bools, Floats, Ints, Table, part
from andante.domain.scheduling.kv_groups import kv_held
from andante.domain.scheduling.prediction import final_qoe_of
from andante.domain.scheduling.qoe_numbers import MAXMIN, PERFECT, Settings
from andante.domain.scheduling.room import MEMORY, TIME, Room
from andante.domain.scheduling.view import (
    CONTEXT,
    DEADLINE,
    ELAPSED,
    EXPECTED_TTFT,
    KEPT,
    REMAINING,
    RUNNING,
    SHARED,
    WEIGHT,
    EngineView,
)

_PERFECT_QOE = 0.99
"""QoE from which a request counts as perfect."""
_BATCH_VALUE = 1e-9
_TIE = 1e-6


class Work(NamedTuple):
    """The remaining work of each request."""

    context: Floats  # tokens that it will read half way through those to come
    held: Floats  # tokens of KV of its own that it will hold then
    prefill: Floats  # seconds before its next token; none of a running one
    recompute: Floats  # seconds of prefill if a running one were taken off now and came back
    queued_tokens: float  # tokens to come of all who wait
    queued_kv: float  # what they will hold of KV, times the tokens for which they hold it
    queued_prefill: float  # seconds of prefill of all who wait


class Bids(NamedTuple):
    """The gain and the cost of each request."""

    gain: Floats
    cost: Floats
    worth_it: Bools  # may push the step past its cap: it gains more than its slowing the others costs


@part
def work_of(requests: Table, engine: EngineView, kv_offload: bool) -> Work:
    """The remaining work of each request, and of all waiting requests together."""
    count = requests.shape[1]
    half_way, held, prefill, recompute = np.empty(count), np.empty(count), np.zeros(count), np.empty(count)
    queued_tokens = queued_kv = queued_prefill = 0.0
    for i in range(count):
        context, rest = requests[CONTEXT, i], requests[REMAINING, i]
        again = engine.step_time.prefill_token * (context - requests[KEPT, i])
        half_way[i] = context + 0.5 * rest
        held[i] = kv_held(half_way[i] - requests[SHARED, i], engine.kv_groups)
        recompute[i] = again
        if not kv_offload:
            # Host memory, if there is any, is too small: a running request's copy is gone before its comeback.
            found = max(requests[SHARED, i], context * engine.cached_share)
            recompute[i] = engine.step_time.prefill_token * (context - found)
        if not requests[RUNNING, i]:
            prefill[i] = again
            queued_tokens += rest
            queued_kv += held[i] * rest
            queued_prefill += again
    return Work(half_way, held, prefill, recompute, queued_tokens, queued_kv, queued_prefill)


@part
def horizon_of(work: Work, engine: EngineView, room: Room, settings: Settings) -> float:
    """Seconds until the waiting work could be done without new requests; within the settings' limits."""
    clear = max(
        work.queued_kv * room.interval / engine.kv_capacity, work.queued_tokens * room.interval / engine.max_seqs
    )
    return min(max(settings.horizon_factor * clear, shortest_horizon(settings)), settings.longest_horizon)


@part
def shortest_horizon(settings: Settings) -> float:
    """The least expected wait of a request that is not served now, seconds."""
    return settings.longest_horizon if settings.kv_offload else settings.shortest_horizon


@part
def if_served(requests: Table, work: Work, room: Room) -> Floats:
    """QoE at the end of each request if it is served now."""
    served = np.empty(requests.shape[1])
    for i in range(served.size):
        next_token = requests[ELAPSED, i] + room.step_interval + work.prefill[i]
        served[i] = final_qoe_of(requests, i, next_token, room.interval)
    return served


@part
def worst_of(served: Floats, objective: int) -> float:
    """The worst final QoE, which `maxmin` raises; 1 for other objectives."""
    worst = 1.0
    if objective == MAXMIN:
        for qoe in served:
            worst = min(worst, qoe)
    return worst


@part
def gain_of(
    requests: Table, i: int, served: float, later: float, room: Room, worst: float, settings: Settings
) -> float:
    """The weighted gain of the user in column `i` if served now instead of `later`; nearly 0 for batch work.

    `served`: final QoE if served now. `later`: seconds, the prefill at that time included. `worst`: `worst_of`.
    """
    if math.isinf(requests[EXPECTED_TTFT, i]) and math.isnan(requests[DEADLINE, i]):
        batch: float = _BATCH_VALUE * requests[WEIGHT, i]
        return batch
    waited = final_qoe_of(requests, i, requests[ELAPSED, i] + room.step_interval + later, room.interval)
    value = served - waited + settings.urgency
    if settings.objective == MAXMIN:
        value = max(worst - waited, 0.0) + 1e-3 * value
    elif settings.objective == PERFECT:
        now, then = 1.0 if served >= _PERFECT_QOE else 0.0, 1.0 if waited >= _PERFECT_QOE else 0.0
        value = now - then + 1e-3 * value
    gain: float = requests[WEIGHT, i] * (value + _TIE)
    return gain


@part
def gains(
    requests: Table, work: Work, room: Room, served: Floats, horizon: float, worst: float, settings: Settings
) -> Floats:
    """The weighted gain of each user if served now instead of `horizon` later."""
    gain = np.empty_like(served)
    for i in range(served.size):
        prefill = work.recompute[i] if requests[RUNNING, i] else work.prefill[i]
        gain[i] = gain_of(requests, i, served[i], horizon + prefill, room, worst, settings)
    return gain


@part
def worth_a_slower_step(
    requests: Table, engine: EngineView, running: Ints, room: Room, served: Floats, gain: Floats, settings: Settings
) -> Bools:
    """Whether each request gains more than it costs all running users together by longer steps, weighted.

    The cost is 0 while the step keeps every user's pace. One more request costs the others as long as both run.
    """
    worth_it = np.empty(gain.size, dtype=np.bool_)
    whole = rest = 0.0
    if room.interval > settings.pace_margin / max(engine.tightest_pace, 1e-9):
        longer = 0.1 * room.interval
        for i in running:
            next_token = requests[ELAPSED, i] + room.step_interval + longer * engine.tokens_per_step
            slower = final_qoe_of(requests, i, next_token, room.interval + longer)
            slope = requests[WEIGHT, i] * max(served[i] - slower, 0.0) / longer
            whole += slope
            rest += slope / requests[REMAINING, i]
    if whole <= 0:
        for i in range(gain.size):
            worth_it[i] = gain[i] >= 0
        return worth_it
    rest = whole / rest
    price = room.interval / room.step_seconds
    for i in range(gain.size):
        extra = engine.step_time.sequence + engine.step_time.context_token * (
            requests[CONTEXT, i] + 0.5 * requests[REMAINING, i]
        )
        slowdown = price * extra * (whole * settings.slowdown_price) * min(requests[REMAINING, i] / rest, 1.0)
        worth_it[i] = gain[i] >= slowdown
    return worth_it


@part
def costs(requests: Table, work: Work, engine: EngineView, scarce: int, interval: float, kv_offload: bool) -> Floats:
    """The use of the scarce resource by each request until its end, as capacity-seconds."""
    cost = np.empty_like(work.context)
    for i in range(cost.size):
        rest, context, prefill = requests[REMAINING, i], work.context[i], work.prefill[i]
        if scarce == TIME:
            steps = rest / engine.tokens_per_step
            cost[i] = prefill + steps * (engine.step_time.sequence + engine.step_time.context_token * context)
        else:
            held = work.held[i] / engine.kv_capacity if scarce == MEMORY else 1 / engine.max_seqs
            cost[i] = cost_of_holding(held, rest * interval, prefill, kv_offload)
    return cost


@part
def cost_of_holding(share: float, decode: float, prefill: float, kv_offload: bool) -> float:
    """Capacity-seconds of a request that holds `share` of the memory or the slots for its prefill and decode seconds.

    With `kv_offload`, prefill takes the whole GPU, and a request that comes back from the host needs no prefill.
    """
    if kv_offload:
        return share * decode + prefill
    return share * (decode + prefill)
