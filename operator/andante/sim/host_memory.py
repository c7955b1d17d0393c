"""Which KV the host's memory holds, and which it gives up first, as `andante_vllm.host_kv_cache` decides it.

A request's run are the chunks that a lookup would find for it: those from its start to the first that is not held.
Chunks of no run go first, the longest unused first; then the ends of runs, the longest unused first. The chunks of all
requests are one tree, because a content names all that comes before it; all that is needed is along a request's path.
"""

from __future__ import annotations

import numpy as np

from andante.domain.compiled import uncounted
from andante.sim.host_state import (
    ABSENT,
    AWAITED,
    AWAITS,
    BLOCK_SIZE,
    CHUNK,
    ENDS,
    FOLLOWED,
    HELD,
    IDLE,
    LATER,
    LATER_IN_ALL,
    LENGTH,
    LOADS,
    NEEDED,
    NEXT_AWAITING,
    READY,
    ROW,
    RUNS,
    SERVED,
    SOONER,
    STATUS,
    STORED,
    TICK,
    USED,
    VLLMS_ORDER,
    WRITER,
    WRITTEN,
    Host,
)

_SPARED = 1 << 40
"""Loads too many for a chunk to go."""


@uncounted
def content_at(host: Host, request: int, place: int) -> int:
    """The content of the request's block at `place`: that of the request with which it is shared."""
    while (place + 1) * host.counts[BLOCK_SIZE] <= host.shared[request]:
        request = host.source[request]
    return int(host.contents[request]) + place


@uncounted
def follow(host: Host, request: int) -> None:
    """Note a new request: what a lookup finds for it is needed from now on."""
    host.rows[request * ROW + FOLLOWED] = 1
    host.runs[host.counts[RUNS]] = request
    host.counts[RUNS] += 1
    host.rows[request * ROW + SERVED] = _tick(host)
    _extend(host, request)


@uncounted
def forget(host: Host, request: int) -> None:
    """Note that the request has ended: its chunks that no other request needs stay by recency, the first longest."""
    if not host.rows[request * ROW + FOLLOWED]:
        return
    _end_at(host, request, 0, False)
    host.rows[request * ROW + FOLLOWED] = 0
    place = 0
    while host.runs[place] != request:
        place += 1
    host.counts[RUNS] -= 1
    for later in range(place, host.counts[RUNS]):
        host.runs[later] = host.runs[later + 1]
    for place in range(host.rows[request * ROW + STORED] - 1, -1, -1):
        content = content_at(host, request, place)
        chunk = content * CHUNK
        if host.chunks[chunk + STATUS] != ABSENT:
            if host.chunks[chunk + NEEDED] == 0:
                _unlink(host, content, LATER)
                _append(host, content, LATER)
            if host.counts[VLLMS_ORDER]:
                _unlink(host, content, LATER_IN_ALL)
                _append(host, content, LATER_IN_ALL)


@uncounted
def insert(host: Host, request: int, first: int, last: int, copy: int) -> None:
    """Note that `copy` brings those of the request's blocks from `first` to `last` that are not held."""
    for place in range(first, last):
        content = content_at(host, request, place)
        chunk = content * CHUNK
        if host.chunks[chunk + STATUS] != ABSENT:
            continue
        host.chunks[chunk + STATUS], host.chunks[chunk + WRITER], host.chunks[chunk + USED] = WRITTEN, copy, 0
        host.counts[HELD] += 1
        _append(host, content, LATER)
        if host.counts[VLLMS_ORDER]:
            _append(host, content, LATER_IN_ALL)
        other = host.chunks[chunk + AWAITED] - 1
        host.chunks[chunk + AWAITED] = 0
        while other >= 0:
            after = host.rows[other * ROW + NEXT_AWAITING] - 1
            host.rows[other * ROW + AWAITS] = 0
            host.rows[other * ROW + SERVED] = _tick(host)
            _extend(host, other)
            other = after


@uncounted
def serve(host: Host, request: int) -> None:
    """Note that the request is about to store new chunks."""
    row = request * ROW
    if not host.rows[row + FOLLOWED]:
        host.rows[row + FOLLOWED] = 1
        host.runs[host.counts[RUNS]] = request
        host.counts[RUNS] += 1
    _extend(host, request)
    host.rows[row + SERVED] = _tick(host)
    if host.rows[row + LENGTH] > 0:
        end = content_at(host, request, host.rows[row + LENGTH] - 1)
        host.chunks[end * CHUNK + USED] = host.rows[row + SERVED]


@uncounted
def pin(host: Host, content: int) -> None:
    """Note that a copy of the chunk to the GPU begins."""
    chunk = content * CHUNK
    if host.chunks[chunk + LOADS] == 0:
        host.counts[IDLE] -= 1
        host.chunks[chunk + USED] = _tick(host)
        if host.chunks[chunk + NEEDED] == 0:
            _unlink(host, content, LATER)
            _append(host, content, LATER)
    host.chunks[chunk + LOADS] += 1


@uncounted
def make_room(host: Host, request: int, first: int, last: int, wanted: int) -> bool:
    """Give up `wanted` chunks, but none of the request's blocks from `first` to `last`; False: too few may go."""
    spared = 0
    for place in range(first, last):
        chunk = content_at(host, request, place) * CHUNK
        if host.chunks[chunk + STATUS] == READY:
            spared += host.chunks[chunk + LOADS] == 0
            host.chunks[chunk + LOADS] += _SPARED
    enough = bool(host.counts[IDLE] - spared >= wanted)
    if enough:
        enough = _give_up(host, wanted)
    for place in range(first, last):
        chunk = content_at(host, request, place) * CHUNK
        if host.chunks[chunk + STATUS] == READY:
            host.chunks[chunk + LOADS] -= _SPARED
    return enough


@uncounted
def _give_up(host: Host, wanted: int) -> bool:
    order = LATER_IN_ALL if host.counts[VLLMS_ORDER] else LATER
    ends = host.chunks.size // CHUNK - 1
    content = host.chunks[ends * CHUNK + order]
    while wanted > 0:
        if content != ends:
            goes = content
            content = host.chunks[content * CHUNK + order]
            if not _may_go(host, goes):
                continue
        else:
            goes = _longest_unused_end(host)
        if goes < 0:
            goes = _last_that_may_go(host)
        if goes < 0:
            return False
        _drop(host, goes)
        wanted -= 1
    return True


@uncounted
def _longest_unused_end(host: Host) -> int:
    """Of the runs' ends after which nothing is needed, the longest unused one; -1: there is none."""
    best, least = -1, 0
    for index in range(host.counts[RUNS]):
        request = host.runs[index]
        place = host.rows[request * ROW + LENGTH] - 1
        if place < 0:
            continue
        end = content_at(host, request, place)
        chunk = end * CHUNK
        if host.chunks[chunk + NEEDED] != host.chunks[chunk + ENDS] or not _may_go(host, end):
            continue
        if best < 0 or host.chunks[chunk + USED] < least:
            best, least = end, host.chunks[chunk + USED]
    return best


@uncounted
def _last_that_may_go(host: Host) -> int:
    """A chunk before chunks that must stay, or -1: only these are left when all others are given up."""
    for index in range(host.counts[RUNS]):
        request = host.runs[index]
        for place in range(host.rows[request * ROW + LENGTH] - 1, -1, -1):
            content = content_at(host, request, place)
            if _may_go(host, content):
                return content
    return -1


@uncounted
def _may_go(host: Host, content: int) -> bool:
    return bool(host.chunks[content * CHUNK + STATUS] == READY and host.chunks[content * CHUNK + LOADS] == 0)


@uncounted
def _drop(host: Host, content: int) -> None:
    """Give up the chunk; the runs through it end before it."""
    chunk = content * CHUNK
    owner = np.searchsorted(host.contents, content, side="right") - 1
    place = content - host.contents[owner]
    if host.chunks[chunk + NEEDED] > 0:
        for index in range(host.counts[RUNS]):
            request = host.runs[index]
            if host.rows[request * ROW + LENGTH] > place and content_at(host, request, place) == content:
                _end_at(host, request, place, True)
    host.chunks[chunk + STATUS] = ABSENT
    host.counts[HELD] -= 1
    host.counts[IDLE] -= 1
    _unlink(host, content, LATER)
    if host.counts[VLLMS_ORDER]:
        _unlink(host, content, LATER_IN_ALL)
    if place > 0:
        before = content_at(host, int(owner), place - 1) * CHUNK
        host.chunks[before + USED] = max(host.chunks[before + USED], host.chunks[chunk + USED])


@uncounted
def _extend(host: Host, request: int) -> None:
    """Take the chunks that are held now into the request's run."""
    whole = host.contents[request + 1] - host.contents[request]
    length = host.rows[request * ROW + LENGTH]
    while length < whole and host.chunks[content_at(host, request, length) * CHUNK + STATUS] != ABSENT:
        length += 1
    _end_at(host, request, length, True)


@uncounted
def _end_at(host: Host, request: int, length: int, goes_on: bool) -> None:
    """Let the request's run have `length` chunks. `goes_on`: it awaits the chunk after them."""
    row = request * ROW
    before = host.rows[row + LENGTH]
    if length != before:
        host.rows[row + LENGTH] = length
        if length > 0:
            end = content_at(host, request, length - 1) * CHUNK
            host.chunks[end + ENDS] += 1
            host.chunks[end + USED] = max(host.chunks[end + USED], host.rows[row + SERVED])
            for place in range(length - 1, -1, -1):
                content = content_at(host, request, place)
                host.chunks[content * CHUNK + NEEDED] += 1
                if host.chunks[content * CHUNK + NEEDED] > 1:
                    break
                _unlink(host, content, LATER)
        if before > 0:
            host.chunks[content_at(host, request, before - 1) * CHUNK + ENDS] -= 1
            for place in range(before - 1, -1, -1):
                content = content_at(host, request, place)
                host.chunks[content * CHUNK + NEEDED] -= 1
                if host.chunks[content * CHUNK + NEEDED] > 0:
                    break
                _append(host, content, LATER)
    next_one = -1
    if goes_on and length < host.contents[request + 1] - host.contents[request]:
        next_one = content_at(host, request, length)
    _await(host, request, next_one)


@uncounted
def _await(host: Host, request: int, content: int) -> None:
    """Note the chunk with which the run would go on; -1: none."""
    row = request * ROW
    before = host.rows[row + AWAITS] - 1
    if before == content:
        return
    if before >= 0:
        other = host.chunks[before * CHUNK + AWAITED] - 1
        if other == request:
            host.chunks[before * CHUNK + AWAITED] = host.rows[row + NEXT_AWAITING]
        else:
            while host.rows[other * ROW + NEXT_AWAITING] - 1 != request:
                other = host.rows[other * ROW + NEXT_AWAITING] - 1
            host.rows[other * ROW + NEXT_AWAITING] = host.rows[row + NEXT_AWAITING]
    host.rows[row + AWAITS] = content + 1
    if content >= 0:
        host.rows[row + NEXT_AWAITING] = host.chunks[content * CHUNK + AWAITED]
        host.chunks[content * CHUNK + AWAITED] = request + 1


@uncounted
def _tick(host: Host) -> int:
    host.counts[TICK] += 1
    return int(host.counts[TICK])


@uncounted
def _append(host: Host, content: int, order: int) -> None:
    """Put the chunk last into the ring whose later neighbours are at `order`, the sooner ones after it."""
    chunks = host.chunks
    ends = chunks.size // CHUNK - 1
    sooner = order + SOONER - LATER
    last = chunks[ends * CHUNK + sooner]
    chunks[content * CHUNK + sooner], chunks[content * CHUNK + order] = last, ends
    chunks[last * CHUNK + order] = chunks[ends * CHUNK + sooner] = content


@uncounted
def _unlink(host: Host, content: int, order: int) -> None:
    chunks = host.chunks
    sooner = order + SOONER - LATER
    before, after = chunks[content * CHUNK + sooner], chunks[content * CHUNK + order]
    chunks[before * CHUNK + order], chunks[after * CHUNK + sooner] = after, before
