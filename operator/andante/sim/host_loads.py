"""KV that comes back from the host: vLLM's lookup, the request that waits for its blocks, and its start.

Known from `Scheduler.schedule` and the OffloadingConnector of vLLM 0.32. A request that waits for its KV holds the
blocks all the time, is not in the batch, and goes before everybody in the queue when the KV has arrived.
"""

from __future__ import annotations

from andante.domain.compiled import uncounted
from andante.sim.engine import Engine
from andante.sim.host_link import begin_step, complete_stores, forget_ended, load, next_loaded, store, take_fenced
from andante.sim.host_memory import content_at
from andante.sim.host_state import (
    ABSENT,
    ARRIVED_KV,
    CACHED,
    CHUNK,
    COPIES,
    FINDABLE,
    IN_LOADING,
    LOAD,
    LOADS,
    NO_LOAD,
    ON_ITS_WAY,
    ROW,
    STATUS,
    STORED,
    WRITTEN,
    Host,
)
from andante.sim.kv_blocks import blocks_for, cache_full, give_back, known_tokens, take_found, take_new
from andante.sim.passed_over import show
from andante.sim.requests import Requests
from andante.sim.state import ADMITTED, CONTEXT, FREE, IN_BATCH, LOADING, PREFILLS, RUNNING, State
from andante.sim.waiting import dequeue


@uncounted
def on_host(host: Host, request: int, found: int, longest: int) -> int:
    """Of the request's first `longest` blocks those beyond the `found` ones of the prefix cache that could come back.

    -1: not now, a copy of them runs.
    """
    if host.rows[request * ROW + COPIES] > 0:
        return -1
    place = found
    running = False
    while place < longest:
        chunk = content_at(host, request, place) * CHUNK
        if host.chunks[chunk + STATUS] == ABSENT:
            break
        running = running or host.chunks[chunk + STATUS] == WRITTEN or host.chunks[chunk + LOADS] > 0
        place += 1
    return -1 if running else place - found


@uncounted
def step_host(engine: Engine, state: State, now: float) -> float:
    """After a step is chosen: copy the blocks that it fills; when the step may begin."""
    host = state.host
    for index in range(state.counts[IN_BATCH]):
        request = state.batch[index]
        if state.step_tokens[request] > 0:
            full = state.computed[request] // engine.block_size
            if full > host.rows[request * ROW + STORED]:
                store(host, request, full)
    forget_ended(host)
    return begin_step(host, engine.host_copy, now)


@uncounted
def complete_copies(state: State, now: float) -> None:
    """Note the copies that are complete at `now`."""
    host = state.host
    complete_stores(host, now)
    request = next_loaded(host, now)
    while request >= 0:
        if state.status[request] == LOADING:
            host.rows[request * ROW + LOAD] = ARRIVED_KV
        else:  # its reader left in the meantime
            give_back(state, request)
        request = next_loaded(host, now)


@uncounted
def blocks_promised(requests: Requests, engine: Engine, state: State) -> int:
    """KV blocks that the rest of the admitted prefill needs: a load must not take them."""
    blocks = 0
    for place in range(state.counts[IN_BATCH]):
        request = state.batch[place]
        if state.prefilling[request]:
            blocks += blocks_for(known_tokens(requests, state, request), engine.block_size) - state.blocks[request]
    for place in range(state.host.counts[IN_LOADING]):
        request = state.host.loading[place]
        blocks += blocks_for(known_tokens(requests, state, request), engine.block_size) - state.blocks[request]
    return blocks


@uncounted
def start_load(requests: Requests, engine: Engine, state: State, request: int, found: int, loaded: int) -> None:
    """Give the request `found` blocks of the prefix cache and `loaded` more, into which its KV comes back."""
    host, counts = state.host, state.counts
    take_found(requests, engine, state, request, found)
    take_new(state, request, found + loaded)
    start = state.pool.contents[request]
    take_fenced(host, state.pool.held, start, start + found + loaded)
    load(host, request, found, found + loaded)
    host.rows[request * ROW + LOAD] = ON_ITS_WAY
    host.rows[request * ROW + CACHED] = found
    show(host, request)
    dequeue(state, request)
    state.status[request] = LOADING
    state.computed[request] = (found + loaded) * engine.block_size
    state.prefilling[request] = True
    place = host.counts[IN_LOADING]
    host.counts[IN_LOADING] += 1
    if engine.by_priority:
        while place > 0 and _before(requests, request, host.loading[place - 1]):
            host.loading[place] = host.loading[place - 1]
            place -= 1
    host.loading[place] = request
    counts[PREFILLS] += 1
    counts[CONTEXT] += known_tokens(requests, state, request)
    counts[ADMITTED] += 1


@uncounted
def start_loaded(requests: Requests, engine: Engine, state: State, tokens: int, most: int) -> int:
    """Start the requests whose KV has arrived, while there is room; the tokens left for others, 0: nobody else."""
    host, counts, size = state.host, state.counts, engine.block_size
    kept = place = 0
    while place < host.counts[IN_LOADING] and tokens > 0:
        request = host.loading[place]
        if counts[IN_BATCH] >= engine.max_seqs:
            tokens = 0
            break
        row = request * ROW
        if host.rows[row + LOAD] == ARRIVED_KV:
            computed = state.computed[request]
            cache_full(requests, engine, state, request, host.rows[row + CACHED] * size, computed)
            host.rows[row + CACHED] = computed // size
            host.rows[row + LOAD] = FINDABLE
            # The last token is computed again, for the one that follows it.
            state.computed[request] = min(computed, known_tokens(requests, state, request) - 1)
        if host.rows[row + LOAD] == FINDABLE:
            known = known_tokens(requests, state, request)
            margin = engine.watermark_blocks if counts[IN_BATCH] > 0 else 0
            done = state.computed[request]
            some = min(known - done, most, tokens)
            wanted = known if engine.reserve_whole else done + some
            if blocks_for(wanted, size) - state.blocks[request] + margin > counts[FREE]:
                tokens = 0
                break
            take_new(state, request, blocks_for(done + some, size))
            start = state.pool.contents[request]
            take_fenced(host, state.pool.held, start, start + state.blocks[request])
            cache_full(requests, engine, state, request, host.rows[row + CACHED] * size, done + some)
            show(host, request)
            host.rows[row + LOAD] = NO_LOAD
            state.status[request] = RUNNING
            state.step_tokens[request] = some
            state.batch[counts[IN_BATCH]] = request
            counts[IN_BATCH] += 1
            tokens -= some
        else:
            host.loading[kept] = request
            kept += 1
        place += 1
    while place < host.counts[IN_LOADING]:
        host.loading[kept] = host.loading[place]
        kept += 1
        place += 1
    host.counts[IN_LOADING] = kept
    return tokens


@uncounted
def stop_load(state: State, request: int) -> None:
    """The request ends while it waits for its KV; the blocks are free when the copy is complete."""
    host = state.host
    kept = 0
    for place in range(host.counts[IN_LOADING]):
        if host.loading[place] != request:
            host.loading[kept] = host.loading[place]
            kept += 1
    host.counts[IN_LOADING] = kept


@uncounted
def _before(requests: Requests, one: int, other: int) -> bool:
    if requests.priority[one] != requests.priority[other]:
        return bool(requests.priority[one] < requests.priority[other])
    return one < other
