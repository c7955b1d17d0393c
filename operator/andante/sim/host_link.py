"""The link between a replica and its host's memory: what is copied, and when each copy is complete.

Each direction carries one copy after the other. As in vLLM's worker, a step's new KV is copied during the next step,
and a step that will overwrite blocks waits until their copies are complete.
"""

from __future__ import annotations

import math

from andante.domain.compiled import Ints, uncounted
from andante.sim.host_memory import content_at, forget, insert, make_room, pin, serve
from andante.sim.host_state import (
    ABSENT,
    CAPACITY,
    CHUNK,
    COPIED,
    COPIES,
    COPY,
    END_BLOCK,
    ENDING,
    FIRST,
    FIRST_BLOCK,
    FLUSHED,
    HELD,
    IDLE,
    LISTED,
    LOADS,
    NEXT,
    READY,
    ROW,
    STARTED,
    STATUS,
    STORED,
    WHOSE,
    WRITER,
    WRITTEN,
    Copies,
    Host,
)


@uncounted
def store(host: Host, request: int, full: int) -> None:
    """Copy those of the request's first `full` blocks that were not offered to the host yet and that it does not hold.

    Without room for them they are offered again with the next step.
    """
    row = request * ROW
    first = host.rows[row + STORED]
    new = 0
    for place in range(first, full):
        new += host.chunks[content_at(host, request, place) * CHUNK + STATUS] == ABSENT
    if new > 0:
        serve(host, request)
        short = new - (host.counts[CAPACITY] - host.counts[HELD])
        if short > 0 and not make_room(host, request, first, full, short):
            return
        insert(host, request, first, full, _new_copy(host, host.to_host, request, first, full, new))
    host.rows[row + STORED] = full


@uncounted
def forget_ended(host: Host) -> None:
    """Forget the requests that have ended since the last step."""
    for index in range(host.counts[ENDING]):
        forget(host, host.ending[index])
    host.counts[ENDING] = 0


@uncounted
def load(host: Host, request: int, first: int, last: int) -> None:
    """Copy the request's blocks from `first` to `last` back to the GPU."""
    for place in range(first, last):
        pin(host, content_at(host, request, place))
    host.rows[request * ROW + STORED] = last
    _new_copy(host, host.from_host, request, first, last, last - first)


@uncounted
def _new_copy(host: Host, copies: Copies, request: int, first: int, last: int, blocks: int) -> int:
    copy = copies.counts[NEXT]
    at = copy % (copies.due.size - 1) * COPY
    numbers = copies.numbers
    numbers[at + WHOSE], numbers[at + FIRST_BLOCK], numbers[at + END_BLOCK] = request, first, last
    numbers[at + COPIED] = blocks
    copies.counts[NEXT] += 1
    host.rows[request * ROW + COPIES] += 1
    return int(copy)


@uncounted
def begin_step(host: Host, block_seconds: float, now: float) -> float:
    """Start the copies of the step that begins at `now`; when it may begin. `block_seconds`: for one block."""
    stores, loads = host.to_host, host.from_host
    _start_until(stores, stores.counts[LISTED], block_seconds, now)
    stores.counts[LISTED] = stores.counts[NEXT]
    _start_until(loads, loads.counts[NEXT], block_seconds, now)
    flushed = host.counts[FLUSHED] - 1
    host.counts[FLUSHED] = 0
    if flushed >= stores.counts[FIRST]:
        return max(now, float(stores.due[flushed % (stores.due.size - 1)]))
    return now


@uncounted
def _start_until(copies: Copies, until: int, block_seconds: float, now: float) -> None:
    most = copies.due.size - 1
    for copy in range(copies.counts[STARTED], until):
        start = max(copies.due[most], now)
        copies.due[most] = copies.due[copy % most] = start + copies.numbers[copy % most * COPY + COPIED] * block_seconds
    copies.counts[STARTED] = max(copies.counts[STARTED], until)


@uncounted
def next_arrival(host: Host) -> float:
    """When the next running copy is complete; infinite without one."""
    return min(_first_due(host.to_host), _first_due(host.from_host))


@uncounted
def _first_due(copies: Copies) -> float:
    first = copies.counts[FIRST]
    return float(copies.due[first % (copies.due.size - 1)]) if first < copies.counts[STARTED] else math.inf


@uncounted
def complete_stores(host: Host, now: float) -> None:
    """Note the copies to the host that are complete at `now`."""
    stores = host.to_host
    while stores.counts[FIRST] < stores.counts[STARTED] and _first_due(stores) <= now:
        copy = stores.counts[FIRST]
        at = copy % (stores.due.size - 1) * COPY
        request = stores.numbers[at + WHOSE]
        for place in range(stores.numbers[at + FIRST_BLOCK], stores.numbers[at + END_BLOCK]):
            chunk = content_at(host, request, place) * CHUNK
            if host.chunks[chunk + STATUS] == WRITTEN and host.chunks[chunk + WRITER] == copy:
                host.chunks[chunk + STATUS] = READY
                host.counts[IDLE] += 1
        host.rows[request * ROW + COPIES] -= 1
        stores.counts[FIRST] += 1


@uncounted
def next_loaded(host: Host, now: float) -> int:
    """Note the next copy to the GPU that is complete at `now`; its request, or -1 without one."""
    loads = host.from_host
    if loads.counts[FIRST] >= loads.counts[STARTED] or _first_due(loads) > now:
        return -1
    at = loads.counts[FIRST] % (loads.due.size - 1) * COPY
    request = loads.numbers[at + WHOSE]
    for place in range(loads.numbers[at + FIRST_BLOCK], loads.numbers[at + END_BLOCK]):
        chunk = content_at(host, request, place) * CHUNK
        host.chunks[chunk + LOADS] -= 1
        host.counts[IDLE] += host.chunks[chunk + LOADS] == 0
    host.rows[request * ROW + COPIES] -= 1
    loads.counts[FIRST] += 1
    return int(request)


@uncounted
def before_preemption(host: Host, request: int) -> None:
    """The next step waits for the copies that still read the blocks of a request that is about to lose them."""
    if host.rows[request * ROW + COPIES] > 0:
        stores = host.to_host
        copy = stores.counts[NEXT] - 1
        while stores.numbers[copy % (stores.due.size - 1) * COPY + WHOSE] != request:
            copy -= 1
        host.counts[FLUSHED] = max(host.counts[FLUSHED], copy + 1)


@uncounted
def before_end(host: Host, request: int, held: Ints, first: int, blocks: int) -> None:
    """Note that the request ends: a step that takes its blocks waits for the copies that still read them.

    Its `blocks` blocks are in `held` from `first`; none of them where it waits for its KV.
    """
    host.ending[host.counts[ENDING]] = request
    host.counts[ENDING] += 1
    if host.rows[request * ROW + COPIES] == 0 or blocks == 0:
        return
    stores = host.to_host
    for copy in range(stores.counts[FIRST], stores.counts[NEXT]):
        at = copy % (stores.due.size - 1) * COPY
        if stores.numbers[at + WHOSE] == request:
            for place in range(stores.numbers[at + FIRST_BLOCK], min(stores.numbers[at + END_BLOCK], blocks)):
                if host.chunks[content_at(host, request, place) * CHUNK + WRITER] == copy:
                    host.fence[held[first + place]] = copy + 1


@uncounted
def take_fenced(host: Host, held: Ints, first: int, last: int) -> None:
    """The next step uses the blocks in `held` from `first` to `last`: it waits for the copies that still read them."""
    for place in range(first, last):
        host.counts[FLUSHED] = max(host.counts[FLUSHED], host.fence[held[place]])
