"""vLLM's KV blocks and its prefix cache: which block a request gets, finds and gives back.

Free blocks form a queue: what can be found in the prefix cache is used again last, least recently freed first, and a
request's last blocks before its first ones. Known from `vllm/v1/core/block_pool.py` of vLLM 0.32.
"""

from __future__ import annotations

from andante.domain.compiled import uncounted
from andante.sim.contents import block_with, forget, note
from andante.sim.engine import Engine
from andante.sim.requests import Requests
from andante.sim.state import FREE, Pool, State


@uncounted
def known_tokens(requests: Requests, state: State, request: int) -> int:
    """Prompt and answer so far, with the tokens that steps in flight will deliver."""
    return int(requests.prompt[request] + state.delivered[request] + state.ahead[request])


@uncounted
def blocks_for(tokens: int, block_size: int) -> int:
    """Whole blocks for `tokens` tokens."""
    return (tokens + block_size - 1) // block_size


@uncounted
def content_of(requests: Requests, engine: Engine, pool: Pool, request: int, place: int) -> int:
    """The content of the request's block at `place`: that of the request with which it is shared."""
    while (place + 1) * engine.block_size <= requests.shared[request]:
        request = requests.source[request]
    return int(pool.contents[request]) + place


@uncounted
def found_blocks(requests: Requests, engine: Engine, state: State, request: int, known: int) -> int:
    """Blocks of a waiting request of `known` tokens that the prefix cache holds; the last token is always computed."""
    if not engine.prefix_caching:
        return 0
    longest = (known - 1) // engine.block_size
    pool = state.pool
    for place in range(longest):
        if block_with(pool.findable, content_of(requests, engine, pool, request, place)) < 0:
            return place
    return longest


@uncounted
def found_in_use(requests: Requests, engine: Engine, state: State, request: int, found: int) -> int:
    """How many of the `found` blocks, from the first, others hold."""
    pool = state.pool
    for place in range(found):
        if pool.references[block_with(pool.findable, content_of(requests, engine, pool, request, place))] == 0:
            return place
    return found


@uncounted
def held_by_others(state: State, request: int) -> int:
    """How many of a running request's blocks, from the first, others hold too."""
    pool, start = state.pool, state.pool.contents[request]
    for place in range(state.blocks[request]):
        if pool.references[pool.held[start + place]] < 2:
            return place
    return int(state.blocks[request])


@uncounted
def take_found(requests: Requests, engine: Engine, state: State, request: int, found: int) -> None:
    """Give the request the first `found` blocks of the prefix cache."""
    pool, start = state.pool, state.pool.contents[request]
    for place in range(found):
        block = block_with(pool.findable, content_of(requests, engine, pool, request, place))
        if pool.references[block] == 0:
            _unlink(pool, block)
            state.counts[FREE] -= 1
        pool.references[block] += 1
        pool.held[start + place] = block
    state.blocks[request] = found


@uncounted
def take_new(state: State, request: int, blocks: int) -> None:
    """Give the request free blocks until it holds `blocks`; their cached content is lost. There must be enough."""
    pool, start = state.pool, state.pool.contents[request]
    end = pool.following.size - 1
    for place in range(state.blocks[request], blocks):
        block = pool.following[end]
        _unlink(pool, block)
        _forget(pool, block)
        pool.references[block] = 1
        pool.held[start + place] = block
        state.counts[FREE] -= 1
    state.blocks[request] = max(blocks, state.blocks[request])


@uncounted
def cache_full(requests: Requests, engine: Engine, state: State, request: int, before: int, tokens: int) -> None:
    """Make the blocks that `tokens` tokens fill findable; those that `before` tokens fill are already.

    vLLM does so when it schedules the tokens, before they are computed.
    """
    if not engine.prefix_caching:
        return
    pool, start = state.pool, state.pool.contents[request]
    for place in range(before // engine.block_size, tokens // engine.block_size):
        block = pool.held[start + place]
        content = content_of(requests, engine, pool, request, place)
        pool.content[block] = content
        other = block_with(pool.findable, content)
        if other < 0:
            note(pool.findable, content, block)
            continue
        while pool.twin[other] >= 0:
            other = pool.twin[other]
        pool.twin[other] = block


@uncounted
def give_back(state: State, request: int) -> None:
    """Free all blocks of the request."""
    pool, start = state.pool, state.pool.contents[request]
    end = pool.following.size - 1
    front = end
    for place in range(state.blocks[request] - 1, -1, -1):
        block = pool.held[start + place]
        pool.held[start + place] = -1
        pool.references[block] -= 1
        if pool.references[block] > 0:
            continue
        state.counts[FREE] += 1
        if pool.content[block] >= 0:
            _link(pool, block, pool.preceding[end])
        else:  # nothing can be found in it
            _link(pool, block, front)
            front = block
    state.blocks[request] = 0


@uncounted
def _link(pool: Pool, block: int, after: int) -> None:
    following = pool.following[after]
    pool.preceding[block], pool.following[block] = after, following
    pool.following[after] = pool.preceding[following] = block


@uncounted
def _unlink(pool: Pool, block: int) -> None:
    before, after = pool.preceding[block], pool.following[block]
    pool.following[before], pool.preceding[after] = after, before


@uncounted
def _forget(pool: Pool, block: int) -> None:
    content = pool.content[block]
    if content < 0:
        return
    pool.content[block] = -1
    other = block_with(pool.findable, content)
    if other != block:
        while pool.twin[other] != block:
            other = pool.twin[other]
        pool.twin[other] = pool.twin[block]
    elif pool.twin[block] >= 0:
        note(pool.findable, content, pool.twin[block])
    else:
        forget(pool.findable, content)
    pool.twin[block] = -1
