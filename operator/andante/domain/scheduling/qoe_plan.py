"""The decision of `qoe_policy`, compiled: from the numbers of requests and engine to the plan's indices.

What each number means is said in `view` and `qoe_settings`. Times are in seconds.
"""

from __future__ import annotations

import math

import numpy as np

from andante.domain.compiled import Floats, Ints, Table, compiled, part
from andante.domain.scheduling.prediction import final_qoe_of
from andante.domain.scheduling.qoe_numbers import Settings
from andante.domain.scheduling.qoe_values import (
    Bids,
    Work,
    costs,
    gains,
    horizon_of,
    if_served,
    work_of,
    worth_a_slower_step,
)
from andante.domain.scheduling.room import (
    NO_LIMIT,
    Room,
    fits_all,
    prefill_keeps_pace,
    prefix,
    room_of,
    scarce_resource,
    step_tokens_for,
    whole_blocks,
)
from andante.domain.scheduling.view import CONTEXT, ELAPSED, PREEMPTIONS, PREFILLING, RUNNING, WEIGHT, EngineView

AGEING_CREDIT, ADMISSIONS, PREEMPTED, RECOMPUTE_CREDIT, CREDITED_UNTIL, MEMORIES = range(6)
"""What the numbers of a policy's memory are, and how many; the last is NaN before the first decision."""
_AT_ONCE = 8
"""Preemptions in one step, at most."""
_FEW = 64
"""Waiting requests that are put in order before more are: hardly ever do more fit.

A preemption makes room for these in its step, for others in the next.
"""
_MOST_DEBT = 10.0
"""Seconds by which the storm guard's share may be overdrawn; earned back before the next preemption."""
_MOST_CREDIT = 2.0
"""Seconds of that share that are kept at most."""
_VICTIMS = 4
"""Named in case blocks run out within a step, at most."""
_SECONDS_OFF = 10.0
"""About how long a stream waits that is taken off because blocks run out."""
_QOE_LOST_PER_SECOND = 0.01
"""About what a second's stall costs a stream of a few hundred tokens."""
_MEMORY_IS_SHORT = 0.8
"""Share of the KV cache in use from which memory, not the GPU's time, is taken to keep people waiting.

`scarce_resource` says what binds now; in an engine short of memory that is time whenever a long prompt comes.
"""
_LONG_QUEUE = 5.0
"""Seconds of waiting prefill that are an overload, not a burst."""


@part
def _split(requests: Table) -> tuple[Ints, Ints, float, float]:
    """Who runs, who waits, and the contexts of either, added up."""
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
            asked += requests[CONTEXT, i]
    return running[:found], waiting[: count - found], held, asked


@part
def _earn(engine: EngineView, settings: Settings, memory: Floats) -> None:
    """The storm guard's share of the GPU time that has passed."""
    if not math.isnan(memory[CREDITED_UNTIL]):
        passed = max(engine.now - memory[CREDITED_UNTIL], 0.0)
        memory[RECOMPUTE_CREDIT] = min(memory[RECOMPUTE_CREDIT] + settings.recompute_share * passed, _MOST_CREDIT)
    memory[CREDITED_UNTIL] = engine.now


@part
def _keep_least(best: Ints, losses: Floats, kept: int, i: int, loss: float) -> int:
    """Puts `i` in its place among the `kept` that lose least, if it is one of them; how many there are then."""
    if kept == best.size and loss >= losses[kept - 1]:
        return kept
    place = min(kept, best.size - 1)
    while place > 0 and loss < losses[place - 1]:
        losses[place], best[place] = losses[place - 1], best[place - 1]
        place -= 1
    losses[place], best[place] = loss, i
    return min(kept + 1, best.size)


@part
def _order(bids: Bids, waiting: Ints, room: Room, memory: Floats, at_most: int) -> Ints:
    """The best `at_most` of the waiting requests, best first; before them all, the ageing share's.

    Where steps are too long already, those who are not worth a longer one come last.
    """
    best, losses, count = np.empty(min(at_most, waiting.size), dtype=np.int64), np.empty(waiting.size), 0
    # The view is in order of arrival: the first waiting is who has waited longest.
    oldest = waiting[0] if memory[AGEING_CREDIT] > 0 else -1
    if oldest >= 0:
        bids.worth_it[oldest] = True
    too_long = room.step_seconds > room.step_cap
    for worthy in (True, False):
        if not worthy and not too_long:
            break
        kept = 0
        for i in waiting:
            if not too_long or bids.worth_it[i] == worthy:
                loss = -np.inf if i == oldest else bids.gain[i] / -bids.cost[i]
                if count < best.size:
                    kept = _keep_least(best[count:], losses[count:], kept, i, loss)
        count += kept
    return best


@part
def _admit(
    requests: Table,
    engine: EngineView,
    bids: Bids,
    waiting: Ints,
    order: Ints,
    room: Room,
    settings: Settings,
    memory: Floats,
) -> Ints:
    """The longest prefix of `order` that fits. The ageing share earns by it, or pays."""
    admit = order[: prefix(requests, engine, room, order, bids.worth_it, 0.0, 0)]
    if not admit.size and waiting.size == requests.shape[1]:
        admit = order[:1]  # an idle engine tries whatever comes first
    if not admit.size:
        return admit
    oldest = waiting[0] if memory[AGEING_CREDIT] > 0 else -1
    for i in admit:
        memory[AGEING_CREDIT] += -bids.cost[i] if i == oldest else settings.ageing_share * bids.cost[i]
    # A share that nobody drew on is not saved up for a storm of old requests.
    queued = 0.0
    for i in waiting:
        queued += bids.cost[i]
    memory[AGEING_CREDIT] = min(memory[AGEING_CREDIT], 4 * queued / waiting.size)
    return admit


@part
def _leavers(requests: Table, work: Work, bids: Bids, worth: float, settings: Settings, at_most: int) -> Ints:
    """Running requests whose going would gain; who loses least for what it gives back comes first.

    `worth`: what the scarce resource is worth. A victim gives back its cost and will need its recompute, during which
    the GPU serves nobody.
    """
    stay = 1 + settings.stay_bonus if settings.kv_offload else 1.0
    margin = 1 + settings.preemption_margin
    best, losses, count = np.empty(at_most, dtype=np.int64), np.empty(at_most), 0
    for i in range(requests.shape[1]):
        if not requests[RUNNING, i] or requests[PREFILLING, i]:
            continue
        if not settings.kv_offload and requests[PREEMPTIONS, i] >= 1:
            continue
        profit = worth * (bids.cost[i] - margin * work.recompute[i]) - stay * bids.gain[i]
        if profit > 0:
            # Where it must be computed again, what the exchange leaves counts.
            loss = bids.gain[i] / bids.cost[i] if settings.kv_offload else profit / -requests[CONTEXT, i]
            count = _keep_least(best, losses, count, i, loss)
    return best[:count]


@part
def _preempt(
    requests: Table,
    engine: EngineView,
    work: Work,
    bids: Bids,
    room: Room,
    order: Ints,
    admit: Ints,
    settings: Settings,
    memory: Floats,
) -> tuple[Ints, Ints]:
    """Running requests to take off for waiting ones, and who is admitted then.

    What the scarce resource is worth is the value per cost of the first who must wait.
    """
    nobody = np.empty(0, dtype=np.int64)
    allowed = _AT_ONCE
    if not settings.kv_offload:
        left = settings.max_preemptions_per_request * memory[ADMISSIONS] - memory[PREEMPTED]
        allowed = min(int(left), _AT_ONCE)
    if allowed < 1:
        return nobody, admit
    first = order[admit.size]
    best = _leavers(requests, work, bids, bids.gain[first] / bids.cost[first], settings, allowed)
    # As few as make room for the first who must wait, within what the storm guard allows.
    blocks = 0
    for i in order[: admit.size + 1]:
        blocks += whole_blocks(requests[CONTEXT, i], engine.block_size)
    needed = blocks - room.kv
    seconds = 0.0
    tokens = count = 0
    for i in best:
        seconds += work.recompute[i]
        if seconds > memory[RECOMPUTE_CREDIT]:
            return nobody, admit
        count += 1
        tokens += int(requests[CONTEXT, i] // engine.block_size) * engine.block_size
        if tokens >= needed:
            break
    if tokens < needed:
        return nobody, admit
    more = prefix(requests, engine, room, order, bids.worth_it, float(tokens), count)
    if more <= admit.size:
        return nobody, admit
    memory[RECOMPUTE_CREDIT] -= seconds
    memory[PREEMPTED] += count
    return best[:count], order[:more]


@part
def _least_lost(requests: Table, work: Work, room: Room, served: Floats, running: int) -> Ints:
    """The few running requests that lose least by being taken off, should blocks run out within the step."""
    best, losses, count = np.empty(_VICTIMS, dtype=np.int64), np.empty(_VICTIMS), 0
    pool = 0
    for i in range(requests.shape[1]):
        if requests[RUNNING, i] and not requests[PREFILLING, i]:
            pool += 1
            off = requests[ELAPSED, i] + _SECONDS_OFF + work.recompute[i]
            lost = requests[WEIGHT, i] * (served[i] - final_qoe_of(requests, i, off, room.interval))
            # While the GPU recomputes, every other stream stands still.
            lost += work.recompute[i] * running * _QOE_LOST_PER_SECOND
            count = _keep_least(best, losses, count, i, lost)
    return best[: count if pool > 1 else 0]


@compiled
def decide(
    requests: Table, engine: EngineView, settings: Settings, memory: Floats
) -> tuple[bool, Ints, Ints, Ints, int]:
    """Whether anything is to be done, whom to admit, whom to preempt, the victims, and the step's tokens.

    As in `view.Plan`. `memory` is what the policy knows of its own past decisions, and is changed.
    """
    nobody = np.empty(0, dtype=np.int64)
    running, waiting, held, asked = _split(requests)
    room = room_of(engine, running.size, held, settings)
    step_tokens = step_tokens_for(engine, running.size, room.step_seconds, settings, settings.step_margin)
    # Every stream may need a block in the next steps.
    tight = engine.kv_free < 2 * engine.block_size * (1 + running.size)
    if fits_all(requests, engine, room, waiting, asked):
        if not tight and prefill_keeps_pace(requests, engine, waiting, running.size, step_tokens):
            return False, nobody, nobody, nobody, NO_LIMIT
        victims = nobody
        if tight:
            work = work_of(requests, engine, settings.kv_offload)
            served = if_served(requests, work, room)
            victims = _least_lost(requests, work, room, served, running.size)
        return True, waiting, nobody, victims, step_tokens

    _earn(engine, settings, memory)
    work = work_of(requests, engine, settings.kv_offload)
    served = if_served(requests, work, room)
    gain = gains(requests, work, room, served, horizon_of(work, engine, room, settings), settings.objective)
    worth_it = worth_a_slower_step(requests, engine, running, room, served, gain, settings)
    scarce = scarce_resource(room, worth_it, waiting)
    cost = costs(requests, work, engine, scarce, room.interval, settings.kv_offload)
    bids = Bids(gain, cost, worth_it)
    order = _order(bids, waiting, room, memory, _FEW)
    if order.size < waiting.size and prefix(requests, engine, room, order, worth_it, 0.0, 0) == order.size:
        order = _order(bids, waiting, room, memory, room.slots + _AT_ONCE + 1)
    admit = _admit(requests, engine, bids, waiting, order, room, settings, memory)
    preempt = nobody
    if settings.preemption and running.size and order.size > admit.size:
        preempt, admit = _preempt(requests, engine, work, bids, room, order, admit, settings, memory)
    memory[ADMISSIONS] += admit.size
    if settings.kv_offload:
        # Preempted in the belief that it would cost nothing; what the host has lost since does.
        again = 0.0
        for i in admit:
            if requests[PREEMPTIONS, i] > 0:
                again += work.prefill[i]
        memory[RECOMPUTE_CREDIT] = max(memory[RECOMPUTE_CREDIT] - again, -_MOST_DEBT)
    victims = nobody
    if tight:
        victims = _least_lost(requests, work, room, served, running.size)
    # Each step's constant part is time in which nobody is let in. Where it is time that lacks, and not for a moment,
    # steps are therefore longer and fewer; where memory lacks, that would only take the readers' time.
    if room.kv_used_share < _MEMORY_IS_SHORT and work.queued_prefill >= _LONG_QUEUE:
        step_tokens = step_tokens_for(engine, running.size, room.step_seconds, settings, settings.crowded_step_margin)
    return True, admit, preempt, victims, step_tokens
