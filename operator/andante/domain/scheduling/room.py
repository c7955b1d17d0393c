"""Computes an engine's room for more requests in each resource: KV memory, slots, step time, prefill."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from andante.domain.compiled import Bools, Ints, Table, part
from andante.domain.scheduling.kv_groups import kv_held, kv_to_start
from andante.domain.scheduling.qoe_numbers import Settings
from andante.domain.scheduling.view import (
    CONTEXT,
    DELIVERED,
    ELAPSED,
    EXPECTED_TTFT,
    KEPT,
    LAG,
    PREFILLING,
    SECONDS_PER_TOKEN,
    SHARED,
    EngineView,
)

MEMORY, SLOTS, TIME = 0, 1, 2
"""Scarce resources."""
NO_LIMIT = -1
"""Tokens of a step without a limit beside the engine's own."""
_OFFLOAD_HEADROOM = 0.25
"""Share of the KV headroom that is enough with KV in host memory: to be out of KV blocks costs little there."""


class Room(NamedTuple):
    """The rest of each resource for admissions."""

    kv: float  # tokens
    slots: int
    step_seconds: float  # a decode step of the running requests
    step_cap: float  # the longest decode step that keeps up with the most demanding reader
    prefill: float  # prompt tokens that may be admitted now
    step_interval: float  # seconds between two steps of a request, prefills of others included
    interval: float  # seconds between two tokens of a request, the same included
    kv_used_share: float
    slots_used_share: float
    prefill_used_share: float


@part
def room_of(engine: EngineView, running: int, context: float, settings: Settings) -> Room:
    """The room beside `running` requests with `context` tokens in total."""
    seconds = engine.step_time.base + engine.step_time.sequence * running + engine.step_time.context_token * context
    headroom = settings.kv_headroom * (_OFFLOAD_HEADROOM if settings.kv_offload else 1.0)
    cap = prefill = np.inf  # without readers no step is too long
    if engine.tightest_pace > 0:
        cap = settings.pace_margin * engine.tokens_per_step / engine.tightest_pace
        prefill = settings.prefill_cap / max(engine.step_time.prefill_token, 1e-9)
    step_interval = seconds * 1.3 + 1e-4
    return Room(
        engine.kv_free - headroom * engine.kv_capacity,
        engine.max_seqs - running,
        seconds,
        cap,
        prefill - engine.unfinished_prefill,
        step_interval,
        step_interval / engine.tokens_per_step,
        1 - engine.kv_free / engine.kv_capacity,
        running / engine.max_seqs,
        engine.unfinished_prefill / prefill,
    )


@part
def slack_of(requests: Table, running: Ints) -> float:
    """Seconds until the first reader of a stream has nothing left to read; infinite if nobody reads."""
    slack = np.inf
    for i in running:
        period = requests[SECONDS_PER_TOKEN, i]
        if period > 0 and not requests[PREFILLING, i]:
            read = requests[EXPECTED_TTFT, i] + requests[LAG, i] + requests[DELIVERED, i] * period
            slack = min(slack, read - requests[ELAPSED, i])
    return slack


@part
def step_tokens_for(
    engine: EngineView, running: int, seconds: float, slack: float, settings: Settings, margin: float
) -> int:
    """Tokens of a step of `margin` times the most demanding reader's time per token; `seconds`: without prefill.

    The step may be longer while every reader has text left, for `slack` seconds at least.
    """
    if engine.tightest_pace <= 0 or not running:
        return NO_LIMIT
    left = margin * engine.tokens_per_step / engine.tightest_pace - seconds
    if left < settings.least_prefill * engine.step_time.base:
        # No useful chunk keeps the pace: then do the prefill soon.
        left = settings.long_prefill * engine.step_time.base
    left = max(left, settings.slack_share * slack - seconds)
    chunk = left / max(engine.step_time.prefill_token, 1e-9)
    # Limit it before the conversion: machine code turns a number that is too large into the smallest integer.
    if not chunk < engine.max_step_tokens:
        return NO_LIMIT
    tokens = running + int(max(chunk, 0.0))
    return tokens if tokens < engine.max_step_tokens else NO_LIMIT


@part
def prefill_keeps_pace(requests: Table, engine: EngineView, waiting: Ints, running: int, step_tokens: int) -> bool:
    """Whether a step with all waiting prefill is short enough for the most demanding reader."""
    if step_tokens == NO_LIMIT:
        return True
    tokens = engine.unfinished_prefill
    for i in waiting:
        tokens += requests[CONTEXT, i] - requests[KEPT, i]
    return running + min(tokens, engine.max_step_tokens) <= step_tokens


@part
def kv_needed(requests: Table, engine: EngineView, i: int) -> float:
    """KV, in whole free blocks, that the request in column `i` takes at its start."""
    tokens = requests[CONTEXT, i] + 1 + engine.draft_slots
    return kv_to_start(tokens, requests[SHARED, i], engine.block_size, engine.kv_groups)


@part
def kv_of(requests: Table, i: int, engine: EngineView) -> float:
    """Unshared KV that the request in column `i` holds, or would hold if it ran."""
    return kv_held(requests[CONTEXT, i] - requests[SHARED, i], engine.kv_groups)


@part
def prefix(
    requests: Table, engine: EngineView, room: Room, order: Ints, worth_it: Bools, more_kv: float, more_slots: int
) -> int:
    """Number of requests of `order`, from its start, that fit into every resource and into the freed amounts."""
    total = prefill = blocks = 0.0
    for count, i in enumerate(order[: max(room.slots + more_slots, 0)]):
        total += requests[CONTEXT, i]
        prefill += requests[CONTEXT, i] - requests[KEPT, i]
        blocks += kv_needed(requests, engine, i)
        step = room.step_seconds + engine.step_time.sequence * (count + 1) + engine.step_time.context_token * total
        if blocks > room.kv + more_kv or not (step <= room.step_cap or worth_it[i]):
            return count
        # One prompt above the limit may start when no other prefill is running.
        if prefill > room.prefill and (count > 0 or room.prefill <= 0):
            return count
    return min(order.size, max(room.slots + more_slots, 0))


@part
def fits_all(requests: Table, engine: EngineView, room: Room, waiting: Ints, asked: float) -> bool:
    """Whether all waiting requests, with `asked` tokens of unshared KV in total, can start now: nothing is scarce."""
    if waiting.size > room.slots or asked > room.kv:
        return waiting.size == 0
    nobody = np.zeros(requests.shape[1], dtype=np.bool_)
    return prefix(requests, engine, room, waiting, nobody, 0.0, 0) == waiting.size


@part
def scarce_resource(room: Room, worth_it: Bools, waiting: Ints) -> int:
    """The resource that stops admissions; `worth_it`: for each request, whether it may exceed the step's limit."""
    willing = 0
    for i in waiting:
        willing += worth_it[i]
    step_share = 0.0 if 2 * willing > waiting.size else room.step_seconds / room.step_cap
    time_share = max(step_share, room.prefill_used_share)
    if room.slots_used_share >= max(room.kv_used_share, time_share):
        return SLOTS
    return MEMORY if room.kv_used_share >= time_share else TIME
