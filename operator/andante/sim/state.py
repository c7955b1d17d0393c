"""Holds the changing state of a simulated replica in arrays, which compiled code changes in place."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np

from andante.domain.compiled import Bools, Floats, Ints
from andante.sim.contents import Contents
from andante.sim.engine import Engine
from andante.sim.host_state import Host
from andante.sim.requests import Requests

COMING, WAITING, LOADING, RUNNING, ENDED, LEFT, FAILED, CUT = range(8)
"""States of a request: not here yet, in the queue, with KV that comes back from the host, in the batch, completely
answered, left by its reader, lost with its replica (or refused where no replica served), cut at the end of a drain. The
last four are over."""

(
    ARRIVED, IN_ENGINE, IN_BATCH, FREE, GONE, STEPS, PREEMPTIONS, BY_POLICY, RECOMPUTED, ADMITTED, PREFILLS, CONTEXT,
    NEXT_LOOKUP, STANDING_STEPS, STANDING_BATCH, STANDING_GONE, STANDING_TOKENS, DECISIONS, IN_FLIGHT, OLDEST, SENT,
    NEXT_COMING, LAST_COMING, QUEUE_ENDS, HANGS, COUNTS,
) = range(26)  # fmt: skip
"""Places of `State.counts`.

`ARRIVED`, `GONE`: requests that have come, and that have ended or left. `IN_ENGINE`: how many of `State.present` count.
`IN_BATCH`: how many of `State.batch` count. `FREE`: free KV blocks. `BY_POLICY`: preemptions by the policy, among
`PREEMPTIONS`. `RECOMPUTED`: prefill tokens after a preemption. `ADMITTED`: starts and resumptions. `PREFILLS`: running
requests within their prefill. `CONTEXT`: known tokens of the running requests. `NEXT_LOOKUP`: the policy's next place
in the prefix cache's lookups. `STANDING_*`: a plan that is kept for some steps, see `andante.sim.decisions`.
`IN_FLIGHT`, `OLDEST`: how many of `State.flights` count, and the place of the one that ends first. `SENT`: requests
that were sent to the replica. `NEXT_COMING`, `LAST_COMING`: first and last of those that are not there yet, or -1.
`QUEUE_ENDS`: the replica's place for the ends of its `Queue`. `HANGS`: whether the engine makes no steps any more.
"""

(
    NOW, BUSY, CACHED_SHARE, NEXT_LEAVING, STANDING_FREE, STANDING_PREFILL, WAKES, LAST_GONE, LINE, CLOCKS,
) = (*range(9), 12)  # fmt: skip
"""Places of `State.clocks`: the time in seconds, seconds with a running step, `EngineView.cached_share`, a time before
which nobody leaves, two numbers of the standing plan, when an engine that may serve none is asked again, when a request
ended last, and the four coefficients of the fitted step time."""


ENDS, LASTS, RIDES, SEEN, FLIGHT = (*range(4), 6)
"""Places of a step in `State.flights`: when it ends, its seconds, how many `State.passengers` it has, the three numbers
from which the fit of the step time learns; how many places a step has."""


class Pool(NamedTuple):
    """KV blocks: who holds them, and vLLM's queue of the free ones, in the order in which they are used again.

    The queue is a ring of two arrays of shape (blocks + 1,); the last place stands for its two ends.
    """

    following: Ints
    preceding: Ints
    references: Ints
    """Requests that hold each block, shape (blocks,)."""
    content: Ints
    """Whose part each block caches, a place in `holder`; -1: nothing that a request could find. Shape (blocks,)."""
    twin: Ints
    """The next block with the same content, or -1. Shape (blocks,)."""
    findable: Contents
    contents: Ints
    """The first content of each request, shape (requests + 1,). A request's contents are its blocks in order."""
    held: Ints
    """The blocks of each request in order: a place for each of its contents."""


class Queue(NamedTuple):
    """Waiting requests in vLLM's order: a ring of two arrays, with a place for each request.

    After these comes a place for the ends of each replica's ring: `QUEUE_ENDS`.
    """

    following: Ints
    preceding: Ints


class State(NamedTuple):
    """Everything that changes during a run, as one replica sees it.

    Arrays with a place for each request belong to all replicas: a request is on one replica at a time. The others are
    the replica's own.
    """

    status: Ints
    comes: Floats
    """When the request comes to its replica, seconds from the start."""
    follows: Ints
    """Of a request that is not there yet, the next one that comes to the same replica, or -1."""
    accompanied: Bools
    """Whether another request was on the replica at the same time."""
    computed: Ints
    """Tokens whose KV is computed, or will be when the present step ends."""
    blocks: Ints
    """KV blocks that the request holds."""
    delivered: Ints
    preemptions: Ints
    ahead: Ints
    """Tokens of the request that steps in flight will deliver."""
    step_tokens: Ints
    """Tokens of the request in the step that is being chosen."""
    prefilling: Bools
    cached: Ints
    """Tokens of the request in the prefix cache, as the policy's last lookup found."""
    shared: Ints
    """The same of blocks that others hold."""
    lag: Floats
    """A_n - I_n, seconds: how far reading is behind its ideal."""
    area: Floats
    """S_delay of the delivered tokens, token-seconds."""
    first: Floats
    """When the first token came, seconds since the arrival; NaN before."""
    last: Floats
    """When the last token came, seconds since the arrival; NaN before."""
    gone: Floats
    """When the request ended or its reader left, seconds from the start; NaN before."""
    present: Ints
    """Requests in the engine in order of arrival."""
    batch: Ints
    """Running requests in vLLM's order."""
    victims: Ints
    """Of the standing plan, first victim first; -1 ends them."""
    readers: Ints
    """Requests in the engine of each of `Requests.paces`."""
    counts: Ints
    clocks: Floats
    flights: Floats
    """`andante.sim.flight`: numbers of each step in flight, one after the other."""
    passengers: Ints
    """Requests that get a token from each step in flight, shape (steps in flight * sequences,)."""
    pool: Pool
    queue: Queue
    host: Host
    token_times: Floats
    """Seconds since the arrival of each token of each request in order; empty: not recorded."""
    first_time: Ints
    """The place of each request's first token in `token_times`."""

    @classmethod
    def of(cls, requests: Requests, engine: Engine, *, record_times: bool) -> Self:
        """A replica before the first request, to which nothing is sent yet."""
        n = requests.arrival.size

        def numbers(size: int = n, value: int = 0) -> Ints:
            return np.full(size, value, dtype=np.int64)

        def nothing() -> Floats:
            return np.full(n, np.nan)

        clocks, counts = np.zeros(CLOCKS), numbers(COUNTS)
        counts[FREE] = engine.blocks
        counts[NEXT_COMING] = counts[LAST_COMING] = -1
        counts[QUEUE_ENDS] = n
        clocks[NEXT_LEAVING] = np.inf
        return cls(
            status=numbers(), comes=requests.arrival + engine.hand_over, follows=numbers(n, -1),
            accompanied=np.zeros(n, dtype=np.bool_), computed=numbers(), blocks=numbers(), delivered=numbers(),
            preemptions=numbers(), ahead=numbers(), step_tokens=numbers(), prefilling=np.zeros(n, dtype=np.bool_),
            cached=numbers(), shared=numbers(), lag=np.zeros(n), area=np.zeros(n), first=nothing(), last=nothing(),
            gone=nothing(), present=numbers(), batch=numbers(engine.max_seqs), victims=numbers(engine.max_seqs, -1),
            readers=numbers(requests.paces.size), counts=counts, clocks=clocks,
            flights=np.zeros(engine.steps_in_flight * FLIGHT),
            passengers=numbers(engine.steps_in_flight * engine.max_seqs),
            pool=_pool(requests, engine),
            queue=Queue(numbers(n + 1, n), numbers(n + 1, n)),
            host=Host.of(
                source=requests.source, shared=requests.shared, contents=_contents(requests, engine),
                gpu_blocks=engine.blocks, block_size=engine.block_size, capacity=engine.host_blocks,
                lru=engine.host_lru,
            ),
            token_times=np.empty(int(requests.output.sum()) if record_times else 0),
            first_time=np.concatenate(([0], np.cumsum(requests.output))),
        )  # fmt: skip


def _contents(requests: Requests, engine: Engine) -> Ints:
    """The first content of each request, and the number of all."""
    blocks = -(-(requests.prompt + requests.output) // engine.block_size)
    return np.concatenate(([0], np.cumsum(blocks)))


def _pool(requests: Requests, engine: Engine) -> Pool:
    size = engine.blocks
    place = np.arange(size + 1, dtype=np.int64)
    contents = _contents(requests, engine)
    return Pool(
        following=(place + 1) % (size + 1),
        preceding=(place - 1) % (size + 1),
        references=np.zeros(size, dtype=np.int64),
        content=np.full(size, -1),
        twin=np.full(size, -1),
        findable=Contents.of(size),
        contents=contents,
        held=np.full(int(contents[-1]), -1),
    )


def send_all(state: State) -> None:
    """Send all requests to the replica."""
    n = state.status.size
    state.follows[:-1] = np.arange(1, n)
    if n:
        state.counts[NEXT_COMING], state.counts[LAST_COMING] = 0, n - 1
    state.counts[SENT] = n
