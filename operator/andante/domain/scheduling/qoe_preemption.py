"""Decides preemptions, as a part of the decision of `qoe_policy`: when they pay, and their limits.

Compiled. `view` and `qoe_settings` explain each number. Times are in seconds.
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
from andante.domain.scheduling.qoe_values import Bids, Work, gain_of
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
"""Most preemptions in one step."""
_MOST_OF_ONE = 2
"""Preemptions of one request, from any cause, after which it is not preempted again. No limit with `kv_offload`."""
_MOST_CREDIT = 10.0
"""Most seconds of the storm guard's share that are saved: after a calm time the engine can use them in a surge."""
_MOST_CREDIT_OFFLOAD = 2.0
"""The same with `kv_offload`, where little is recomputed, and this little was not foreseen."""
_MOST_DEBT = 10.0
"""Seconds by which the share may be overdrawn; they must be earned back before the next preemption."""
_VICTIMS = 4
"""Most victims that are named in case the engine is out of KV blocks within a step."""
_SECONDS_OFF = 10.0
"""About how long a stream waits after a preemption because the engine is out of KV blocks."""
_QOE_LOST_PER_SECOND = 0.01
"""About the cost in QoE of a stall of one second for a stream of a few hundred tokens."""


@part
def earn(engine: EngineView, settings: Settings, memory: Floats) -> None:
    """Add the storm guard's share of the passed GPU time; without `kv_offload` the credit starts full."""
    most = _MOST_CREDIT_OFFLOAD if settings.kv_offload else _MOST_CREDIT
    if not math.isnan(memory[CREDITED_UNTIL]):
        passed = max(engine.now - memory[CREDITED_UNTIL], 0.0)
        memory[RECOMPUTE_CREDIT] = min(memory[RECOMPUTE_CREDIT] + settings.recompute_share * passed, most)
    elif not settings.kv_offload:
        memory[RECOMPUTE_CREDIT] = most
    memory[CREDITED_UNTIL] = engine.now


@part
def _leavers(
    requests: Table, work: Work, bids: Bids, room: Room, served: Floats, worst: float, price: float,
    settings: Settings, at_most: int,
) -> Ints:  # fmt: skip
    """Running requests whose preemption would gain; the one with the least loss for the freed amount comes first.

    `price`: value of the scarce resource. A victim frees its cost, is off for long, and needs a recomputation later,
    during which the GPU serves no other request.
    """
    best, losses, count = np.empty(at_most, dtype=np.int64), np.empty(at_most), 0
    for i in range(requests.shape[1]):
        if not requests[RUNNING, i] or requests[PREFILLING, i]:
            continue
        if not settings.kv_offload and requests[PREEMPTIONS, i] >= _MOST_OF_ONE:
            continue
        again = work.recompute[i]
        freed = price * (bids.cost[i] - settings.preemption_margin * again)
        if freed <= 0:
            continue
        loss = gain_of(requests, i, served[i], settings.time_off + again, room, worst, settings)
        loss *= 1 + settings.stay_bonus
        if freed > loss:
            count = keep_least(best, losses, count, i, loss / bids.cost[i])
    return best[:count]


@part
def _left_out(requests: Table, engine: EngineView, room: Room, order: Ints, admitted: int, settings: Settings) -> int:
    """The place in `order` of the first request that gets no room from streams that end within the policy's patience.

    `order.size` if all get room. A request that gets room so soon is no reason for a recomputation.
    """
    kv, slots = room.kv, float(room.slots)
    for i in range(requests.shape[1]):
        if requests[RUNNING, i]:
            ends = min(settings.preemption_patience / (requests[REMAINING, i] * room.interval), 1.0)
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
    served: Floats,
    worst: float,
    order: Ints,
    admit: Ints,
    settings: Settings,
    memory: Floats,
) -> tuple[Ints, Ints]:
    """The running requests to preempt for waiting ones, and the admitted requests.

    The value of the scarce resource is the value per cost of the first request that must wait for longer than the
    policy's patience.
    """
    nobody = np.empty(0, dtype=np.int64)
    allowed = AT_ONCE
    if not settings.kv_offload:
        left = settings.max_preemptions_per_request * memory[ADMISSIONS] - memory[PREEMPTED]
        allowed = int(min(max(left, 0.0), float(AT_ONCE)))
    if allowed < 1:
        return nobody, admit
    marginal = _left_out(requests, engine, room, order, admit.size, settings)
    if marginal == order.size:
        return nobody, admit
    first = order[marginal]
    price = bids.gain[first] / bids.cost[first]
    best = _leavers(requests, work, bids, room, served, worst, price, settings, allowed)
    # As few as make room for the first request that must wait, within the storm guard's limit.
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
    """With `kv_offload`: charge a request's recomputation at its comeback if its preemption was expected to be free.

    KV that the host has lost since must be recomputed.
    """
    again = 0.0
    for i in admit:
        if requests[PREEMPTIONS, i] > 0:
            again += work.prefill[i]
    memory[RECOMPUTE_CREDIT] = max(memory[RECOMPUTE_CREDIT] - again, -_MOST_DEBT)


@part
def least_lost(requests: Table, work: Work, room: Room, served: Floats, running: int) -> Ints:
    """The few running requests that lose least by a preemption, if the engine is out of KV blocks within the step."""
    best, losses, count = np.empty(_VICTIMS, dtype=np.int64), np.empty(_VICTIMS), 0
    pool = 0
    for i in range(requests.shape[1]):
        if requests[RUNNING, i] and not requests[PREFILLING, i]:
            pool += 1
            off = requests[ELAPSED, i] + _SECONDS_OFF + work.recompute[i]
            lost = requests[WEIGHT, i] * (served[i] - final_qoe_of(requests, i, off, room.interval))
            # During a recomputation, every other stream waits.
            lost += work.recompute[i] * running * _QOE_LOST_PER_SECOND
            count = keep_least(best, losses, count, i, lost)
    return best[: count if pool > 1 else 0]
