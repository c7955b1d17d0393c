"""vLLM's choice of a step's tokens: running requests first, then waiting ones while tokens, slots and KV blocks last.

Known from `vllm/v1/core/sched/scheduler.py` of vLLM 0.32, for one model with full attention and chunked prefill.
"""

from __future__ import annotations

from typing import NamedTuple

from andante.domain.compiled import Ints, uncounted
from andante.sim.contents import block_with
from andante.sim.engine import Engine
from andante.sim.host_link import before_preemption, take_fenced
from andante.sim.host_loads import blocks_promised, on_host, start_load, start_loaded
from andante.sim.host_state import DEFERRED, IN_LOADING, ROW
from andante.sim.kv_blocks import (
    blocks_for,
    cache_full,
    content_of,
    found_blocks,
    give_back,
    known_tokens,
    take_found,
    take_new,
)
from andante.sim.passed_over import show
from andante.sim.requests import Requests
from andante.sim.state import (
    ADMITTED,
    CACHED_SHARE,
    CONTEXT,
    FREE,
    IN_BATCH,
    IN_ENGINE,
    PREEMPTIONS,
    PREFILLS,
    QUEUE_ENDS,
    RUNNING,
    WAITING,
    State,
)
from andante.sim.waiting import dequeue, enqueue, first_waiting

_CACHED_SHARE_WEIGHT = 0.05
"""As in `andante_vllm.step_books`."""


class Batch(NamedTuple):
    """What one step computes."""

    continued: int
    """How many requests of `State.batch`, from the first, were running before."""
    prefill: int
    """Tokens of prompts and of recomputed answers."""
    pairs: int
    """Their query-key pairs."""
    decoding: int
    """Sequences that decode a token."""
    context: int
    """Total context of these."""
    recomputed: int
    """Prefill tokens of requests that were preempted before."""


@uncounted
def preempt(requests: Requests, engine: Engine, state: State, place: int) -> int:
    """Put the request at `place` of the batch back into the queue, without its KV; the request."""
    request = leave_batch(state, place)
    if state.prefilling[request]:
        state.prefilling[request] = False
        state.counts[PREFILLS] -= 1
    state.counts[CONTEXT] -= known_tokens(requests, state, request)
    state.counts[PREEMPTIONS] += 1
    if engine.host_blocks > 0:
        before_preemption(state.host, request)
    give_back(state, request)
    state.status[request] = WAITING
    state.computed[request] = state.step_tokens[request] = 0
    state.preemptions[request] += 1
    enqueue(requests, engine, state, request, True)
    return request


@uncounted
def leave_batch(state: State, place: int) -> int:
    """Take the request at `place` out of the batch; the request."""
    batch = state.batch
    request = int(batch[place])
    state.counts[IN_BATCH] -= 1
    for later in range(place, state.counts[IN_BATCH]):
        batch[later] = batch[later + 1]
    return request


@uncounted
def choose_batch(requests: Requests, engine: Engine, state: State, tokens: int, planned: bool, admit: Ints) -> Batch:
    """Choose the tokens of a step of at most `tokens`, and take the KV blocks for them.

    `planned`: of the waiting requests only `admit`, in this order; else vLLM's own queue.
    """
    most = _most_of_one(engine, state, planned, admit)
    left, famine = _continue_running(requests, engine, state, tokens, most)
    counts = state.counts
    continued = computed_again = counts[IN_BATCH]
    if not famine and left > 0:
        if engine.host_blocks > 0:
            left = start_loaded(requests, engine, state, left, most)
            computed_again = counts[IN_BATCH]
        if planned:
            for request in admit:
                if left <= 0 or state.status[request] != WAITING:
                    break
                left = _start(requests, engine, state, request, left, most)
        else:
            request = first_waiting(state)
            while left > 0 and request != counts[QUEUE_ENDS]:
                after = state.queue.following[request]
                left = _start(requests, engine, state, request, left, most)
                request = after
    for place in range(computed_again, counts[IN_BATCH]):
        _note_found(requests, state, state.batch[place])
    return _scheduled(requests, state, continued)


@uncounted
def _most_of_one(engine: Engine, state: State, planned: bool, admit: Ints) -> int:
    """Most tokens of one request in the step."""
    loading = state.host.counts[IN_LOADING]
    waiting = loading + admit.size if planned else state.counts[IN_ENGINE] - state.counts[IN_BATCH]
    if engine.long_prefill and state.counts[IN_BATCH] + waiting > 1:
        return engine.long_prefill
    return engine.max_step_tokens


@uncounted
def _continue_running(requests: Requests, engine: Engine, state: State, tokens: int, most: int) -> tuple[int, bool]:
    """Give each running request its tokens, and preempt where KV blocks are out; tokens left, whether they were."""
    batch, computed, blocks, step_tokens = state.batch, state.computed, state.blocks, state.step_tokens
    counts, size = state.counts, engine.block_size
    famine = False
    place = 0
    while place < counts[IN_BATCH] and tokens > 0:
        request = batch[place]
        if state.delivered[request] + state.ahead[request] == requests.output[request]:
            place += 1  # its last token is in flight; vLLM knows `max_tokens` and computes no other
            continue
        done = computed[request]
        some = 1
        if state.prefilling[request]:
            some = min(known_tokens(requests, state, request) - done, most, tokens)
        needed = blocks_for(done + some, size)
        while needed - blocks[request] > counts[FREE]:
            famine = True
            victim_at = counts[IN_BATCH] - 1
            if engine.by_priority:
                victim_at = _least_urgent(requests, state)
                tokens += step_tokens[batch[victim_at]]
                if victim_at < place:
                    place -= 1
            if preempt(requests, engine, state, victim_at) == request:
                return tokens, famine
        if needed > blocks[request]:
            held = blocks[request]
            take_new(state, request, needed)
            if engine.host_blocks > 0:
                start = state.pool.contents[request]
                take_fenced(state.host, state.pool.held, start + held, start + needed)
        if (done + some) // size > done // size:
            cache_full(requests, engine, state, request, done, done + some)
        step_tokens[request] = some
        tokens -= some
        place += 1
    return tokens, famine


@uncounted
def _least_urgent(requests: Requests, state: State) -> int:
    """The place in the batch of the request that vLLM preempts first by priority."""
    worst = 0
    for place in range(1, state.counts[IN_BATCH]):
        one, other = state.batch[place], state.batch[worst]
        later = requests.arrival[one] > requests.arrival[other]
        same = requests.priority[one] == requests.priority[other]
        if requests.priority[one] > requests.priority[other] or (same and later):
            worst = place
    return worst


@uncounted
def _start(requests: Requests, engine: Engine, state: State, request: int, tokens: int, most: int) -> int:
    """Start a waiting request if there is room; the tokens left for others, 0 if nobody else may start.

    Its KV may have to come back from the host first; while a copy of it runs, vLLM passes over it.
    """
    counts = state.counts
    if counts[IN_BATCH] >= engine.max_seqs:
        return 0
    known = known_tokens(requests, state, request)
    found = found_blocks(requests, engine, state, request, known)
    loaded = on_host(state.host, request, found, known // engine.block_size) if engine.host_blocks > 0 else 0
    if loaded < 0:
        state.host.rows[request * ROW + DEFERRED] = 1
        return tokens
    unused = 0
    for place in range(found):
        content = content_of(requests, engine, state.pool, request, place)
        unused += state.pool.references[block_with(state.pool.findable, content)] == 0
    margin = engine.watermark_blocks if counts[IN_BATCH] > 0 else 0
    if loaded > 0:
        if engine.reserve_whole and blocks_for(known, engine.block_size) - found + unused + margin > counts[FREE]:
            return 0
        if loaded + unused + margin + blocks_promised(requests, engine, state) > counts[FREE]:
            return 0
        start_load(requests, engine, state, request, found, loaded)
        return tokens
    done = found * engine.block_size
    some = min(known - done, most, tokens)
    wanted = known if engine.reserve_whole else done + some
    if blocks_for(wanted, engine.block_size) - found + unused + margin > counts[FREE]:
        return 0
    take_found(requests, engine, state, request, found)
    take_new(state, request, blocks_for(done + some, engine.block_size))
    if engine.host_blocks > 0:
        start = state.pool.contents[request]
        take_fenced(state.host, state.pool.held, start, start + state.blocks[request])
        show(state.host, request)
    cache_full(requests, engine, state, request, done, done + some)
    dequeue(state, request)
    state.status[request] = RUNNING
    state.computed[request] = done
    state.step_tokens[request] = some
    state.prefilling[request] = True
    state.batch[counts[IN_BATCH]] = request
    counts[IN_BATCH] += 1
    counts[PREFILLS] += 1
    counts[CONTEXT] += known
    counts[ADMITTED] += 1
    return tokens - some


@uncounted
def _note_found(requests: Requests, state: State, request: int) -> None:
    """Note how much of a preempted request the prefix cache held at its comeback."""
    if state.preemptions[request] > 0:
        share = state.clocks[CACHED_SHARE]
        found = state.computed[request] / known_tokens(requests, state, request)
        state.clocks[CACHED_SHARE] = share + _CACHED_SHARE_WEIGHT * (found - share)


@uncounted
def _scheduled(requests: Requests, state: State, continued: int) -> Batch:
    """Count the step's tokens as computed."""
    batch, computed, step_tokens, prompt = state.batch, state.computed, state.step_tokens, requests.prompt
    prefill = pairs = decoding = context = recomputed = 0
    for place in range(state.counts[IN_BATCH]):
        request = batch[place]
        some = step_tokens[request]
        if some == 0:
            continue
        done = computed[request] + some
        computed[request] = done
        if some == 1 and done > prompt[request]:
            decoding += 1
            context += done
        else:
            prefill += some
            pairs += some * (done - some) + some * (some + 1) // 2
            if state.preemptions[request] > 0:
                recomputed += some
        if state.prefilling[request] and done >= known_tokens(requests, state, request):
            state.prefilling[request] = False
            state.counts[PREFILLS] -= 1
    return Batch(continued, prefill, pairs, decoding, context, recomputed)
