"""Holds the changing state of a replica's KV in host memory in arrays, which compiled code changes in place.

A chunk of host memory is one KV block. Chunks are named by their contents (`andante.sim.state.Pool`). The numbers of a
chunk, of a request and of a copy lie side by side in one array each: calls of compiled code get slow to compile with
many arrays.
"""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np

from andante.domain.compiled import Floats, Ints

(
    STATUS, WRITER, LOADS, NEEDED, ENDS, USED, AWAITED, LATER, SOONER, LATER_IN_ALL, SOONER_IN_ALL, CHUNK,
) = range(12)  # fmt: skip
"""Places of a chunk in `Host.chunks`, and how many it has.

`STATUS`: `ABSENT`, `WRITTEN` or `READY`. `WRITER`: the number of the copy that brings or brought it. `LOADS`: running
copies back to the GPU. `NEEDED`: runs that end with it, and needed chunks directly after it; `ENDS`: the former.
`USED`: tick of the last use. `AWAITED`: 1 + the first request whose run would go on with it, or 0. `LATER`, `SOONER`:
its neighbours among the chunks that no request needs, in the order in which they are given up, and among all chunks in
vLLM's order. The last chunk stands for the ends of both rings.
"""
ABSENT, WRITTEN, READY = range(3)
"""States of a chunk: not on the host, on its way there, there."""

(
    LENGTH, SERVED, AWAITS, NEXT_AWAITING, STORED, COPIES, LOAD, CACHED, HIDDEN_UNTIL, FOLLOWED, DEFERRED, ROW,
) = range(12)  # fmt: skip
"""Places of a request in `Host.rows`, and how many it has.

`LENGTH`: the chunks of its run, from its start to the first that is not held. `SERVED`: tick of the last store.
`AWAITS`: 1 + the content with which its run would go on, or 0; `NEXT_AWAITING`: 1 + the next request that awaits the
same. `STORED`: blocks that were offered to the host, from the first. `COPIES`: running copies. `LOAD`: see `NO_LOAD`.
`CACHED`: during a load, its blocks in the prefix cache. `HIDDEN_UNTIL`: the refresh from which the policy sees it
again; 0: it sees it. `FOLLOWED`: whether the host knows it. `DEFERRED`: whether vLLM passed over it.
"""
NO_LOAD, ON_ITS_WAY, ARRIVED_KV, FINDABLE = range(4)
"""States of the KV that a request gets back: none, on the link, in the GPU's blocks, in the prefix cache too."""

(
    TICK, HELD, IDLE, RUNS, ENDING, IN_LOADING, HIDDEN, SHOWN, REFRESHES, FLUSHED, BLOCK_SIZE, CAPACITY, VLLMS_ORDER,
    HOST_COUNTS,
) = range(14)  # fmt: skip
"""Places of `Host.counts`.

`TICK`: uses so far. `HELD`: chunks on the host or on their way there. `IDLE`: those without a running copy. `RUNS`,
`ENDING`, `IN_LOADING`: how many of `Host.runs`, `.ending` and `.loading` count. `HIDDEN`: requests that the policy does
not see, `SHOWN`: how often one was hidden or shown again, `REFRESHES`: how often they were looked at
(`andante.sim.passed_over`). `FLUSHED`: 1 + the last copy to the host for which the next step waits, or 0. `BLOCK_SIZE`,
`CAPACITY` (chunks), `VLLMS_ORDER`: as in `Engine`.
"""

WHOSE, FIRST_BLOCK, END_BLOCK, COPIED, COPY = range(5)
"""Places of a copy in `Copies.numbers`, and how many it has: the request, its first block that is copied, the one after
the last, and how many of these are copied."""
FIRST, STARTED, LISTED, NEXT, COPY_COUNTS = range(5)
"""Places of `Copies.counts`: the numbers of the first copy that runs, of the first that has not started, of the first
that the step before did not ask for, and of the next new copy."""


class Copies(NamedTuple):
    """The copies in one direction, one after the other. Copy number n is at place n modulo their most."""

    numbers: Ints
    due: Floats
    """When each copy is complete, seconds; the last place: when the link is free."""
    counts: Ints

    @classmethod
    def of(cls, most: int) -> Self:
        """No copy yet, and never more than `most` at once."""
        return cls(np.zeros(most * COPY, dtype=np.int64), np.zeros(most + 1), np.zeros(COPY_COUNTS, dtype=np.int64))


class Host(NamedTuple):
    """Everything about host memory that changes during a run, and how requests share what they begin with."""

    chunks: Ints
    rows: Ints
    runs: Ints
    """The requests that are followed."""
    ending: Ints
    """Requests that have ended since the last step."""
    loading: Ints
    """Requests whose KV is on its way back or has arrived, in vLLM's order."""
    fence: Ints
    """By GPU block, 1 + the number of the copy that reads it for a request that has ended, or 0."""
    counts: Ints
    to_host: Copies
    from_host: Copies
    source: Ints
    """As in `Requests`."""
    shared: Ints
    """As in `Requests`."""
    contents: Ints
    """As in `Pool`."""

    @classmethod
    def of(
        cls, *, source: Ints, shared: Ints, contents: Ints, gpu_blocks: int, block_size: int, capacity: int, lru: bool
    ) -> Self:
        """An empty host memory of `capacity` chunks; 0: there is none, and the arrays are empty."""
        requests, chunks = (source.size, int(contents[-1])) if capacity else (0, 0)

        def numbers(size: int) -> Ints:
            return np.zeros(size, dtype=np.int64)

        counts, all_chunks = numbers(HOST_COUNTS), numbers((chunks + 1) * CHUNK)
        counts[BLOCK_SIZE], counts[CAPACITY], counts[VLLMS_ORDER] = block_size, capacity, lru
        for neighbour in (LATER, SOONER, LATER_IN_ALL, SOONER_IN_ALL):
            all_chunks[neighbour::CHUNK] = chunks
        return cls(
            chunks=all_chunks, rows=numbers(requests * ROW), runs=numbers(requests), ending=numbers(requests),
            loading=numbers(requests), fence=numbers(gpu_blocks if capacity else 0), counts=counts,
            to_host=Copies.of(capacity + 1), from_host=Copies.of(requests + 1), source=source, shared=shared,
            contents=contents,
        )  # fmt: skip
