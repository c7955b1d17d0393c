"""Readers: what each token means to them, and when one of them leaves.

The measures are those of `andante.domain.qoe`: lag and delay area, from which QoE and idle latency follow exactly.
"""

from __future__ import annotations

import math

from andante.domain.compiled import uncounted
from andante.domain.scheduling.lengths import Histograms, learn
from andante.sim.batch import leave_batch
from andante.sim.decisions import look_up
from andante.sim.engine import Engine
from andante.sim.host_link import before_end
from andante.sim.host_loads import stop_load
from andante.sim.host_state import LOAD, ON_ITS_WAY, ROW
from andante.sim.kv_blocks import give_back, known_tokens
from andante.sim.passed_over import show
from andante.sim.requests import Requests
from andante.sim.state import (
    ARRIVED,
    CONTEXT,
    ENDED,
    FLIGHT,
    GONE,
    IN_BATCH,
    IN_ENGINE,
    LAST_GONE,
    LEFT,
    LOADING,
    NEXT_COMING,
    NEXT_LEAVING,
    NOW,
    PREFILLS,
    RIDES,
    RUNNING,
    WAITING,
    State,
)
from andante.sim.waiting import dequeue, enqueue


@uncounted
def arrive(requests: Requests, engine: Engine, state: State) -> None:
    """Put the next coming request at the end of the queue."""
    counts = state.counts
    request = counts[NEXT_COMING]
    counts[NEXT_COMING] = state.follows[request]
    state.status[request] = WAITING
    state.present[counts[IN_ENGINE]] = request
    counts[IN_ENGINE] += 1
    counts[ARRIVED] += 1
    if counts[IN_ENGINE] > 1:
        state.accompanied[request] = state.accompanied[state.present[0]] = True
    state.readers[requests.pace_place[request]] += 1
    enqueue(requests, engine, state, request, False)
    look_up(requests, engine, state, request)
    state.clocks[NEXT_LEAVING] = min(leaves_at(requests, state, request), state.clocks[NEXT_LEAVING])


@uncounted
def tightest_pace(requests: Requests, state: State) -> float:
    """Most demanding pace in the engine, tokens/s; 0 without readers."""
    place = state.readers.size - 1
    while place > 0 and state.readers[place] == 0:
        place -= 1
    return float(requests.paces[place])


@uncounted
def deliver(requests: Requests, engine: Engine, state: State, step: int, lengths: Histograms, learns: bool) -> None:
    """Give each passenger of the step a token, now, and end the complete answers."""
    counts, at = state.counts, state.clocks[NOW] + engine.output_path
    ahead, delivered, lags, areas, times = state.ahead, state.delivered, state.lag, state.area, state.token_times
    last, first_time = state.last, state.first_time
    arrival, expected, period = requests.arrival, requests.expected_ttft, requests.seconds_per_token
    recorded = times.size > 0
    first = step * engine.max_seqs
    ended = 0
    for request in state.passengers[first : first + int(state.flights[step * FLIGHT + RIDES])]:
        ahead[request] -= 1
        if state.status[request] == LEFT:
            continue
        elapsed = at - arrival[request]
        number = delivered[request]
        lag = max(at - (arrival[request] + expected[request] + number * period[request]), lags[request])
        lags[request] = lag
        areas[request] += lag
        last[request] = elapsed
        if number == 0:
            state.first[request] = elapsed
        if recorded:
            times[first_time[request] + number] = elapsed
        delivered[request] = number + 1
        if number + 1 == requests.output[request]:
            if state.status[request] == RUNNING:
                counts[CONTEXT] -= known_tokens(requests, state, request)
                if engine.host_blocks > 0:
                    _before_end(state, request)
                give_back(state, request)
            else:  # it was preempted while its last token was in flight
                dequeue(state, request)
            _depart(requests, state, request, ENDED)
            if learns:
                learn(lengths, requests.class_index[request], float(number + 1), False)
            ended += 1
    if ended:
        _forget_ended(state)
        forget_absent(state)


@uncounted
def _before_end(state: State, request: int) -> None:
    pool = state.pool
    blocks = 0 if state.status[request] == LOADING else state.blocks[request]
    before_end(state.host, request, pool.held, pool.contents[request], blocks)


@uncounted
def _forget_ended(state: State) -> None:
    kept = 0
    for place in range(state.counts[IN_BATCH]):
        request = state.batch[place]
        if state.status[request] == RUNNING:
            state.batch[kept] = request
            kept += 1
    state.counts[IN_BATCH] = kept


@uncounted
def forget_absent(state: State) -> None:
    """Take those who ended or left out of the present requests."""
    kept = 0
    for place in range(state.counts[IN_ENGINE]):
        request = state.present[place]
        if state.status[request] < ENDED:
            state.present[kept] = request
            kept += 1
    state.counts[IN_ENGINE] = kept


@uncounted
def leaves_at(requests: Requests, state: State, request: int) -> float:
    """When the reader's patience ends: it starts at the arrival, and again whenever all that came has been read."""
    read = requests.arrival[request]
    if state.delivered[request] > 0:
        read += (
            requests.expected_ttft[request]
            + state.lag[request]
            + state.delivered[request] * requests.seconds_per_token[request]
        )
    return float(read + requests.patience[request])


@uncounted
def abort_impatient(requests: Requests, engine: Engine, state: State) -> None:
    """End the requests whose readers have left by now.

    A delivery only moves a leaving to later, so nobody needs a look before the earliest that was known.
    """
    counts, now = state.counts, state.clocks[NOW]
    if now < state.clocks[NEXT_LEAVING]:
        return
    earliest = math.inf
    left = 0
    for place in range(counts[IN_ENGINE]):
        request = state.present[place]
        at = leaves_at(requests, state, request)
        if at > now:
            earliest = min(at, earliest)
            continue
        left += 1
        if engine.host_blocks > 0:
            _before_end(state, request)
            show(state.host, request)
        if state.status[request] == RUNNING:
            _stop(requests, state, request)
            give_back(state, request)
        elif state.status[request] == LOADING:
            stop_load(state, request)
            _stop_prefill(requests, state, request)
            if state.host.rows[request * ROW + LOAD] != ON_ITS_WAY:  # its KV has come, and there was no room to start
                give_back(state, request)
        else:
            dequeue(state, request)
        _depart(requests, state, request, LEFT)
    state.clocks[NEXT_LEAVING] = earliest
    if left:
        forget_absent(state)


@uncounted
def _stop(requests: Requests, state: State, request: int) -> None:
    place = 0
    while state.batch[place] != request:
        place += 1
    leave_batch(state, place)
    _stop_prefill(requests, state, request)


@uncounted
def _stop_prefill(requests: Requests, state: State, request: int) -> None:
    state.counts[CONTEXT] -= known_tokens(requests, state, request)
    if state.prefilling[request]:
        state.prefilling[request] = False
        state.counts[PREFILLS] -= 1


@uncounted
def _depart(requests: Requests, state: State, request: int, how: int) -> None:
    state.status[request] = how
    state.gone[request] = state.clocks[NOW]
    state.counts[GONE] += 1
    state.clocks[LAST_GONE] = state.clocks[NOW]
    state.readers[requests.pace_place[request]] -= 1
