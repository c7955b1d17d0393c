"""Simple orders of service that a maintainer of vLLM asks for first, with the limits on admission that `qoe` has.

Compiled, with the signature of `andante.domain.scheduling.qoe_plan.decide`: the very functions that vLLM's class runs
through `RivalPolicy` run in the compiled model of vLLM's step loop. Each keeps free the same share of the KV cache as
`qoe` and admits at most as many seconds of prefill; no order is charged for anything else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from andante.domain.compiled import Floats, Ints, Table, compiled, part, unchecked
from andante.domain.scheduling.kv_groups import kv_given_back
from andante.domain.scheduling.qoe_numbers import MEMORIES, Settings
from andante.domain.scheduling.qoe_settings import QoEPolicySettings
from andante.domain.scheduling.room import NO_LIMIT, Room, prefix, room_of
from andante.domain.scheduling.view import (
    CONTEXT,
    DELIVERED,
    ELAPSED,
    EXPECTED_TTFT,
    LAG,
    PREFILLING,
    REMAINING,
    RUNNING,
    SECONDS_PER_TOKEN,
    SHARED,
    EngineView,
    Plan,
    RequestView,
)

FIRST_LEVEL = 32.0
"""Tokens of the lowest level of attained service; each further level is twice as long."""
LEVELS_APART = 2.0
"""A stream gives way only to one so many levels below: at one level, streams would take turns and compute again."""
HOPELESS_AFTER = 4.0
"""Seconds behind its deadline after which a request goes behind all that can still be in time, newest first."""
MOST_PREEMPTIONS = 8
"""Of a step."""

Decide = Callable[[Table, EngineView, Settings, Floats], tuple[bool, Ints, Ints, Ints, int]]


@part
def _room(requests: Table, engine: EngineView, settings: Settings) -> tuple[Room, int]:
    """What is left for admissions, and the number of running requests."""
    running = 0
    held = 0.0
    for i in range(requests.shape[1]):
        if requests[RUNNING, i]:
            running += 1
            held += requests[CONTEXT, i]
    return room_of(engine, running, held, settings), running


@part
def _in_order(requests: Table, key: Floats) -> Ints:
    """The waiting requests by ascending key; of equals, the older first."""
    waiting = np.empty(requests.shape[1], dtype=np.int64)
    found = 0
    for i in range(requests.shape[1]):
        if not requests[RUNNING, i]:
            waiting[found] = i
            found += 1
    waiting = waiting[:found]
    return waiting[np.argsort(key[waiting], kind="mergesort")]


@part
def _fit(requests: Table, engine: EngineView, room: Room, order: Ints, more_kv: float, more_slots: int) -> int:
    """How many of `order`, from the first, fit; a step may be as long as it likes."""
    anybody = np.ones(requests.shape[1], dtype=np.bool_)
    return prefix(requests, engine, room, order, anybody, more_kv, more_slots)


@part
def _admit_in_order(
    requests: Table, engine: EngineView, settings: Settings, key: Floats
) -> tuple[bool, Ints, Ints, Ints, int]:
    nobody = np.empty(0, dtype=np.int64)
    room, running = _room(requests, engine, settings)
    order = _in_order(requests, key)
    count = _fit(requests, engine, room, order, 0.0, 0)
    if count == 0 and running == 0 and order.size:
        count = 1  # an idle engine always tries the first request
    return True, order[:count].copy(), nobody, nobody, NO_LIMIT


@compiled
def shortest_first(
    requests: Table, engine: EngineView, settings: Settings, memory: Floats
) -> tuple[bool, Ints, Ints, Ints, int]:
    """Least work first: context times the expected rest, as the KV cache is what is scarce. Takes nobody off."""
    return _admit_in_order(requests, engine, settings, requests[CONTEXT] * requests[REMAINING])


@compiled
def earliest_deadline_first(
    requests: Table, engine: EngineView, settings: Settings, memory: Floats
) -> tuple[bool, Ints, Ints, Ints, int]:
    """By the time at which the next token is due, the first one of who waits; the hopeless last, newest first."""
    key = np.empty(requests.shape[1])
    for i in range(key.size):
        due = requests[EXPECTED_TTFT, i] + requests[LAG, i] + requests[DELIVERED, i] * requests[SECONDS_PER_TOKEN, i]
        left = due - requests[ELAPSED, i]
        if math.isinf(left):
            key[i] = np.inf  # batch work
        else:
            key[i] = left if left >= -HOPELESS_AFTER else 1e9 - left
    return _admit_in_order(requests, engine, settings, key)


@part
def _level(delivered: float) -> float:
    return math.floor(math.log2(max(delivered, FIRST_LEVEL) / FIRST_LEVEL))


@part
def _most_served(requests: Table, least: float, taken: Ints) -> int:
    """Who has got most of those at level `least` and above, the longest of equals; -1: nobody."""
    best = -1
    for i in range(requests.shape[1]):
        level = _level(requests[DELIVERED, i])
        if not requests[RUNNING, i] or requests[PREFILLING, i] or level < least or (taken == i).any():
            continue
        best_level = _level(requests[DELIVERED, best]) if best >= 0 else -1.0
        if level > best_level or (level == best_level and requests[CONTEXT, i] > requests[CONTEXT, best]):
            best = i
    return best


@compiled
def least_attained_service(
    requests: Table, engine: EngineView, settings: Settings, memory: Floats
) -> tuple[bool, Ints, Ints, Ints, int]:
    """Who has got the fewest tokens first, by levels that double; takes off who is two levels above."""
    key = np.empty(requests.shape[1])
    for i in range(key.size):
        key[i] = _level(requests[DELIVERED, i]) * 1e9 - requests[ELAPSED, i]
    nobody = np.empty(0, dtype=np.int64)
    room, running = _room(requests, engine, settings)
    order = _in_order(requests, key)
    taken = np.empty(MOST_PREEMPTIONS, dtype=np.int64)
    off = 0
    freed = 0.0
    count = _fit(requests, engine, room, order, 0.0, 0)
    while count < order.size and off < MOST_PREEMPTIONS:
        # Those that it takes for the next one; none of them where it does not fit even then, for want of prefill.
        tried, more = off, freed
        reached = count
        while reached == count and tried < MOST_PREEMPTIONS:
            least = _level(requests[DELIVERED, order[count]]) + LEVELS_APART
            victim = _most_served(requests, least, taken[:tried])
            if victim < 0:
                break
            taken[tried] = victim
            tried += 1
            more += kv_given_back(
                requests[CONTEXT, victim], requests[SHARED, victim], engine.block_size, engine.kv_groups
            )
            reached = _fit(requests, engine, room, order, more, tried)
        if reached == count:
            break
        count, off, freed = reached, tried, more
    if count == 0 and running == 0 and order.size:
        count = 1  # an idle engine always tries the first request
    return True, order[:count].copy(), taken[:off].copy(), nobody, NO_LIMIT


RIVALS: Mapping[str, Decide] = MappingProxyType(
    {"shortest": shortest_first, "las": least_attained_service, "edf": earliest_deadline_first}
)
"""The rivals by the names of tables and command lines."""


class RivalPolicy:
    """One of `RIVALS` as a scheduling policy, for vLLM's class."""

    def __init__(self, name: str, settings: QoEPolicySettings | None = None) -> None:
        """`settings`: the limits on admission, by default those of `qoe`. Raises KeyError for an unknown name."""
        self._decide = unchecked(RIVALS[name])
        self._settings = Settings.of(settings or QoEPolicySettings())
        self._memory = np.zeros(MEMORIES)

    def decide(self, requests: RequestView, engine: EngineView) -> Plan | None:
        """See `andante.domain.scheduling.view.SchedulingPolicy.decide`."""
        _, admit, preempt, victims, _ = self._decide(requests.numbers, engine, self._settings, self._memory)
        return Plan(admit=admit, preempt=preempt, victims=victims)
