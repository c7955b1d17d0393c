"""The part of the decision of `qoe_policy` that takes running requests off: when that pays, and how often at most.

Compiled; what each number means is said in `view` and `qoe_settings`. Times are in seconds.
"""

from __future__ import annotations

import math

import numpy as np

from andante.domain.compiled import Floats, Ints, Table, part
from andante.domain.scheduling.kv_groups import kv_given_back
from andante.domain.scheduling.prediction import final_qoe_of
from andante.domain.scheduling.qoe_numbers import (
    ADMISSIONS,
    CREDITED_UNTIL,
    PREEMPTED,
    RECOMPUTE_CREDIT,
    Settings,
)
from andante.domain.scheduling.qoe_order import keep_least
from andante.domain.scheduling.qoe_values import Bids, Work
from andante.domain.scheduling.room import Room, kv_needed, kv_of, prefix
from andante.domain.scheduling.view import (
    CONTEXT,
    ELAPSED,
    PREEMPTIONS,
    PREFILLING,
    REMAINING,
    RUNNING,
    SHARED,
    WEIGHT,
    EngineView,
)

AT_ONCE = 8
"""Preemptions in one step, at most."""
_MOST_OF_ONE = 2
"""Preemptions of one request, whoever caused them, after which it stays. With `kv_offload` there is no such number."""
_SOON = 1.0
"""Seconds within which whoever leaves lets others in at no cost worth a preemption: about an expected TTFT."""
_MARGIN_OFFLOAD = 1.0
"""`preemption_margin` with `kv_offload`: of what the host does not hold yet, more may be lost until the comeback."""
_MOST_CREDIT = 10.0
"""Seconds of the storm guard's share that are kept at most: a calm engine has them to spend on a surge."""
_MOST_CREDIT_OFFLOAD = 2.0
"""The same with `kv_offload`, where hardly anything is computed again, and what is was not foreseen."""
_MOST_DEBT = 10.0
"""Seconds by which the share may be overdrawn; earned back before the next preemption."""
_VICTIMS = 4
"""Named in case blocks run out within a step, at most."""
_SECONDS_OFF = 10.0
"""About how long a stream waits that is taken off because blocks run out."""
_QOE_LOST_PER_SECOND = 0.01
"""About what a second's stall costs a stream of a few hundred tokens."""


@part
def earn(engine: EngineView, settings: Settings, memory: Floats) -> None:
    """Credits the storm guard's share of the GPU time that has passed; without `kv_offload` it starts full."""
    most = _MOST_CREDIT_OFFLOAD if settings.kv_offload else _MOST_CREDIT
    if not math.isnan(memory[CREDITED_UNTIL]):
        passed = max(engine.now - memory[CREDITED_UNTIL], 0.0)
        memory[RECOMPUTE_CREDIT] = min(memory[RECOMPUTE_CREDIT] + settings.recompute_share * passed, most)
    elif not settings.kv_offload:
        memory[RECOMPUTE_CREDIT] = most
    memory[CREDITED_UNTIL] = engine.now


@part
def _leavers(
    requests: Table, engine: EngineView, work: Work, bids: Bids, worth: float, settings: Settings, at_most: int
) -> Ints:
    """Running requests whose going would gain; who loses least for what it gives back comes first.

    `worth`: what the scarce resource is worth. A victim gives back its cost and will need its recompute, during which
    the GPU serves nobody.
    """
    stay = 1 + settings.stay_bonus if settings.kv_offload else 1.0
    margin = 1 + (_MARGIN_OFFLOAD if settings.kv_offload else settings.preemption_margin)
    best, losses, count = np.empty(at_most, dtype=np.int64), np.empty(at_most), 0
    for i in range(requests.shape[1]):
        if not requests[RUNNING, i] or requests[PREFILLING, i]:
            continue
        if not settings.kv_offload and requests[PREEMPTIONS, i] >= _MOST_OF_ONE:
            continue
        profit = worth * (bids.cost[i] - margin * work.recompute[i]) - stay * bids.gain[i]
        if profit > 0:
            # Where it must be computed again, what the exchange leaves counts.
            loss = (
                bids.gain[i] / bids.cost[i] if settings.kv_offload else profit / -max(kv_of(requests, i, engine), 1.0)
            )
            count = keep_least(best, losses, count, i, loss)
    return best[:count]


@part
def _left_out(requests: Table, engine: EngineView, room: Room, order: Ints, admitted: int) -> int:
    """The place in `order` of the first whom streams that end within `_SOON` do not let in.

    `order.size` if they let in all. Who gets in that soon anyway is no reason to compute anybody again.
    """
    kv, slots = room.kv, float(room.slots)
    for i in range(requests.shape[1]):
        if requests[RUNNING, i]:
            ends = min(_SOON / (requests[REMAINING, i] * room.interval), 1.0)
            kv += kv_of(requests, i, engine) * ends
            slots += ends
    for place in range(order.size):
        kv -= kv_of(requests, order[place], engine)
        slots -= 1
        if kv < 0 or slots < 0:
            return max(place, admitted)
    return order.size


@part
def preempt(
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

    What the scarce resource is worth is the value per cost of the first who must wait; without `kv_offload`, of the
    first who must wait for longer than a moment.
    """
    nobody = np.empty(0, dtype=np.int64)
    allowed = AT_ONCE
    if not settings.kv_offload:
        left = settings.max_preemptions_per_request * memory[ADMISSIONS] - memory[PREEMPTED]
        allowed = int(min(max(left, 0.0), float(AT_ONCE)))
    if allowed < 1:
        return nobody, admit
    marginal = admit.size if settings.kv_offload else _left_out(requests, engine, room, order, admit.size)
    if marginal == order.size:
        return nobody, admit
    first = order[marginal]
    best = _leavers(requests, engine, work, bids, bids.gain[first] / bids.cost[first], settings, allowed)
    # As few as make room for the first who must wait, within what the storm guard allows.
    blocks = 0.0
    for i in order[: admit.size + 1]:
        blocks += kv_needed(requests, engine, i)
    needed = blocks - room.kv
    seconds = tokens = 0.0
    count = 0
    for i in best:
        seconds += work.recompute[i]
        if seconds > memory[RECOMPUTE_CREDIT]:
            return nobody, admit
        count += 1
        tokens += kv_given_back(requests[CONTEXT, i], requests[SHARED, i], engine.block_size, engine.kv_groups)
        if tokens >= needed:
            break
    if tokens < needed:
        return nobody, admit
    more = prefix(requests, engine, room, order, bids.worth_it, tokens, count)
    if more <= admit.size:
        return nobody, admit
    memory[RECOMPUTE_CREDIT] -= seconds
    memory[PREEMPTED] += count
    return best[:count], order[:more]


@part
def charge_recomputed(requests: Table, work: Work, admit: Ints, memory: Floats) -> None:
    """With `kv_offload`: who was taken off in the belief that it would cost nothing is paid for when it comes back.

    What the host has lost since must be computed after all.
    """
    again = 0.0
    for i in admit:
        if requests[PREEMPTIONS, i] > 0:
            again += work.prefill[i]
    memory[RECOMPUTE_CREDIT] = max(memory[RECOMPUTE_CREDIT] - again, -_MOST_DEBT)


@part
def least_lost(requests: Table, work: Work, room: Room, served: Floats, running: int) -> Ints:
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
            count = keep_least(best, losses, count, i, lost)
    return best[: count if pool > 1 else 0]
