"""Makes the decision of `qoe_policy`, compiled: from the numbers of requests and engine to the plan's indices.

`view` and `qoe_settings` explain each number. Times are in seconds.
"""

from __future__ import annotations

import numpy as np

from andante.domain.compiled import Floats, Ints, Table, compiled, part
from andante.domain.scheduling.qoe_comebacks import forget_price, learn_price, may_come
from andante.domain.scheduling.qoe_gathering import note_prefill, wait_for_more
from andante.domain.scheduling.qoe_numbers import (
    ADMISSIONS,
    ADMITTED,
    AGEING_CREDIT,
    DECIDED_AT,
    HELD_BACK,
    MOST_CREDIT,
    PLANNED,
    PREEMPTED,
    RECOMPUTE_CREDIT,
    TO_EARN,
    TO_PAY,
    Settings,
)
from andante.domain.scheduling.qoe_order import order_of
from andante.domain.scheduling.qoe_preemption import AT_ONCE, charge_recomputed, earn, least_lost, preempt
from andante.domain.scheduling.qoe_values import (
    Bids,
    costs,
    gains,
    horizon_of,
    if_served,
    work_of,
    worst_of,
    worth_a_slower_step,
)
from andante.domain.scheduling.room import (
    NO_LIMIT,
    Room,
    fits_all,
    kv_of,
    prefill_keeps_pace,
    prefix,
    room_of,
    scarce_resource,
    slack_of,
    step_tokens_for,
)
from andante.domain.scheduling.view import CONTEXT, RUNNING, EngineView

_FEW = 64
"""Number of waiting requests that are ordered first: more seldom fit.

A preemption makes room for these requests in its step, for others in the next step.
"""
_MEMORY_IS_SHORT = 0.8
"""Share of the KV cache in use above which memory, not GPU time, counts as the reason for waiting.

`scarce_resource` gives the present bottleneck; in an engine with scarce memory this is time whenever a long prompt
comes.
"""
_LONG_QUEUE = 5.0
"""Seconds of waiting prefill above which there is an overload, not only a burst."""


@part
def _split(requests: Table, engine: EngineView) -> tuple[Ints, Ints, float, float]:
    """The running and the waiting requests, the running ones' total context, and the KV that the waiting ones need."""
    count = requests.shape[1]
    running, waiting = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64)
    found = 0
    held = asked = 0.0
    for i in range(count):
        if requests[RUNNING, i]:
            running[found] = i
            held += requests[CONTEXT, i]
            found += 1
        else:
            waiting[i - found] = i
            asked += kv_of(requests, i, engine)
    return running[:found], waiting[: count - found], held, asked


@part
def _admit(
    requests: Table,
    engine: EngineView,
    bids: Bids,
    waiting: Ints,
    order: Ints,
    room: Room,
) -> Ints:
    """Admit the longest prefix of `order` that fits."""
    admit = order[: prefix(requests, engine, room, order, bids.worth_it, 0.0, 0)]
    if not admit.size and waiting.size == requests.shape[1]:
        admit = order[:1]  # an idle engine always tries the first request
    return admit


@part
def _plan_credit(
    engine: EngineView, bids: Bids, waiting: Ints, admit: Ints, oldest: int, settings: Settings, memory: Floats
) -> None:
    """Record the credit that the ageing share will earn or pay once these admissions are made."""
    memory[PLANNED], memory[ADMITTED] = admit.size, engine.admitted
    memory[TO_EARN] = memory[TO_PAY] = 0.0
    for i in admit:
        if i == oldest:
            memory[TO_PAY] = bids.cost[i]
        else:
            memory[TO_EARN] += settings.ageing_share * bids.cost[i]
    # An unused share is not saved for a later storm of old requests.
    queued = 0.0
    for i in waiting:
        queued += bids.cost[i]
    memory[MOST_CREDIT] = 4 * queued / max(waiting.size, 1)


@part
def _count_admitted(engine: EngineView, memory: Floats) -> None:
    """Count the last plan's admissions that the engine made: the first ones, as the engine takes them in order."""
    planned = memory[PLANNED]
    if planned == 0:
        return
    made = planned
    if engine.admitted - memory[ADMITTED] < planned:
        made = max(engine.admitted - memory[ADMITTED], 0.0)
    memory[PLANNED] = 0.0
    memory[ADMISSIONS] += made
    if made == 0:
        return
    oldest = 1.0 if memory[TO_PAY] > 0 else 0.0  # it is the first
    if planned > oldest:
        memory[AGEING_CREDIT] += memory[TO_EARN] * (made - oldest) / (planned - oldest)
    memory[AGEING_CREDIT] = min(memory[AGEING_CREDIT] - memory[TO_PAY], memory[MOST_CREDIT])


@compiled
def decide(
    requests: Table, engine: EngineView, settings: Settings, memory: Floats
) -> tuple[bool, Ints, Ints, Ints, int]:
    """Whether to act, the requests to admit and to preempt, the victims, and the step's tokens.

    As in `view.Plan`. `memory` is what the policy knows of its own past decisions, and is changed.
    """
    nobody = np.empty(0, dtype=np.int64)
    _count_admitted(engine, memory)
    running, waiting, held, asked = _split(requests, engine)
    room = room_of(engine, running.size, held, settings)
    slack = slack_of(requests, running)
    step_tokens = step_tokens_for(engine, running.size, room.step_seconds, slack, settings, settings.step_margin)
    # Every stream may need a block of each kind in the next steps, and blocks for its drafts.
    each = (engine.block_size + engine.draft_slots) * engine.kv_groups.shape[0]
    tight = engine.kv_free < 2 * each * (1 + running.size)
    passed = max(engine.now - memory[DECIDED_AT], 0.0)
    memory[DECIDED_AT] = engine.now
    memory[HELD_BACK] = 0.0
    everybody = waiting.size
    waiting, asked = may_come(requests, engine, room, running, waiting, asked, settings, memory)
    if fits_all(requests, engine, room, waiting, asked):
        forget_price(passed, settings, memory)
        note_prefill(requests, engine, room, waiting, settings, memory)
        if (
            waiting.size == everybody
            and not tight
            and prefill_keeps_pace(requests, engine, waiting, running.size, step_tokens)
        ):
            return False, nobody, nobody, nobody, NO_LIMIT
        victims = nobody
        if tight:
            work = work_of(requests, engine, settings.kv_offload)
            served = if_served(requests, work, room)
            victims = least_lost(requests, work, room, served, running.size)
        return True, waiting, nobody, victims, step_tokens

    earn(engine, settings, memory)
    work = work_of(requests, engine, settings.kv_offload)
    served = if_served(requests, work, room)
    worst = worst_of(served, settings.objective)
    gain = gains(requests, work, room, served, horizon_of(work, engine, room, settings), worst, settings)
    worth_it = worth_a_slower_step(requests, engine, running, room, served, gain, settings)
    scarce = scarce_resource(room, worth_it, waiting)
    cost = costs(requests, work, engine, scarce, room.interval, settings.kv_offload)
    bids = Bids(gain, cost, worth_it)
    order = order_of(bids, waiting, room, memory, _FEW)
    if order.size < waiting.size and prefix(requests, engine, room, order, worth_it, 0.0, 0) == order.size:
        order = order_of(bids, waiting, room, memory, max(room.slots, 0) + AT_ONCE + 1)
    oldest = waiting[0] if memory[AGEING_CREDIT] > 0 else -1
    admit = _admit(requests, engine, bids, waiting, order, room)
    learn_price(bids, order, admit.size, passed, settings, memory)
    leave = nobody
    credit, preempted = memory[RECOMPUTE_CREDIT], memory[PREEMPTED]
    if settings.preemption and running.size and order.size > admit.size:
        leave, admit = preempt(requests, engine, work, bids, room, served, worst, order, admit, settings, memory)
    if wait_for_more(requests, engine, running, admit, settings, memory):
        admit = leave = nobody
        memory[RECOMPUTE_CREDIT], memory[PREEMPTED], memory[HELD_BACK] = credit, preempted, 1.0
    note_prefill(requests, engine, room, admit, settings, memory)
    _plan_credit(engine, bids, waiting, admit, oldest, settings, memory)
    if settings.kv_offload:
        charge_recomputed(requests, work, admit, memory)
    victims = nobody
    if tight:
        victims = least_lost(requests, work, room, served, running.size)
    # No prefill happens in the constant part of a step. If GPU time is scarce for long, fewer and longer steps
    # therefore gain throughput. If memory is scarce, longer steps would only delay readers.
    if room.kv_used_share < _MEMORY_IS_SHORT and work.queued_prefill >= _LONG_QUEUE:
        longer = settings.crowded_step_margin
        step_tokens = step_tokens_for(engine, running.size, room.step_seconds, slack, settings, longer)
    return True, admit, leave, victims, step_tokens
