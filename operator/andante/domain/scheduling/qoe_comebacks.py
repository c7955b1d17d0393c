"""Decides when a request that was preempted may come back, as a part of the decision of `qoe_policy`.

A preemption whose victim comes back while others still wait frees nothing: it only adds a recomputation. So whoever
was preempted comes back into a calm engine, not into a short pause. Or earlier at the going price: if it gains as much
for its cost as the requests that had to wait lately. Compiled. Times are in seconds.
"""

from __future__ import annotations

import math

import numpy as np

from andante.domain.compiled import Floats, Ints, Table, part
from andante.domain.scheduling.kv_groups import kv_held
from andante.domain.scheduling.prediction import final_qoe_of
from andante.domain.scheduling.qoe_numbers import AGEING_CREDIT, MAXMIN, PRICE, Settings
from andante.domain.scheduling.qoe_values import (
    Bids,
    cost_of_holding,
    gain_of,
    if_served,
    shortest_horizon,
    work_of,
    worst_of,
)
from andante.domain.scheduling.room import Room, kv_of
from andante.domain.scheduling.view import (
    CONTEXT,
    DELIVERED,
    ELAPSED,
    KEPT,
    PREEMPTIONS,
    REMAINING,
    SHARED,
    EngineView,
)

_DEAREST = 1e9
"""Most that the price counts for one decision: a request may cost almost nothing."""
_LONGEST_OF_A_PRICE = 0.5
"""Seconds, a few steps: longer than this no price is taken as lasting."""


@part
def may_come(
    requests: Table, engine: EngineView, room: Room, running: Ints, waiting: Ints, asked: float, settings: Settings,
    memory: Floats,
) -> tuple[Ints, float]:  # fmt: skip
    """The waiting requests that may start, and the KV that they need, of the `asked` KV of all.

    All may start in a calm engine, and all if none runs.
    """
    if not running.size or engine.kv_free >= settings.calm * engine.kv_capacity:
        return waiting, asked
    worst = -1.0  # not known yet
    # The ageing share's request is not held back.
    oldest = waiting[0] if waiting.size and memory[AGEING_CREDIT] > 0 else -1
    stay, count = np.empty(waiting.size, dtype=np.int64), 0
    for i in waiting:
        preempted = requests[PREEMPTIONS, i] > 0 and requests[DELIVERED, i] > 0 and i != oldest
        if preempted and requests[KEPT, i] < settings.held_by_host * requests[CONTEXT, i]:
            if worst < 0:
                worst = _worst(requests, engine, room, settings)
            if _value_per_cost(requests, i, engine, room, worst, settings) < memory[PRICE]:
                asked -= kv_of(requests, i, engine)
                continue
        stay[count] = i
        count += 1
    return stay[:count], asked


@part
def _worst(requests: Table, engine: EngineView, room: Room, settings: Settings) -> float:
    """`worst_of` all requests; the other objectives need no prediction for it."""
    if settings.objective != MAXMIN:
        return 1.0
    return worst_of(if_served(requests, work_of(requests, engine, settings.kv_offload), room), settings.objective)


@part
def _value_per_cost(requests: Table, i: int, engine: EngineView, room: Room, worst: float, settings: Settings) -> float:
    """The gain of the waiting request in column `i` if served now and not a horizon later, for its cost of memory."""
    context, rest = requests[CONTEXT, i], requests[REMAINING, i]
    prefill = engine.step_time.prefill_token * (context - requests[KEPT, i])
    served = final_qoe_of(requests, i, requests[ELAPSED, i] + room.step_interval + prefill, room.interval)
    gain = gain_of(requests, i, served, shortest_horizon(settings) + prefill, room, worst, settings)
    share = kv_held(context + 0.5 * rest - requests[SHARED, i], engine.kv_groups) / engine.kv_capacity
    return gain / cost_of_holding(share, rest * room.interval, prefill, settings.kv_offload)


@part
def learn_price(bids: Bids, order: Ints, admitted: int, passed: float, settings: Settings, memory: Floats) -> None:
    """Take the value per cost of the first request that must wait into the going price."""
    price = 0.0
    if order.size > admitted:
        first = order[admitted]
        price = min(max(bids.gain[first] / bids.cost[first], 0.0), _DEAREST)
    lasted = min(passed, _LONGEST_OF_A_PRICE)
    forget_price(passed - lasted, settings, memory)
    memory[PRICE] += (1 - math.exp(-lasted / settings.price_memory)) * (price - memory[PRICE])


@part
def forget_price(passed: float, settings: Settings, memory: Floats) -> None:
    """Lower the going price after `passed` seconds in which nobody had to wait."""
    memory[PRICE] *= math.exp(-passed / settings.price_memory)
