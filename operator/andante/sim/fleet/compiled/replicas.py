"""Holds all replicas of a fleet in tables, a row for each, so that compiled code can run any of them.

What belongs to requests is shared: a request is on one replica at a time. What belongs to a replica is a row, which a
later replica uses again, so memory grows with the replicas at one time, not with replicas x requests.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np

from andante.domain.compiled import Floats, Ints, IntTable, Table, inner
from andante.domain.scheduling.latency import Sums
from andante.domain.scheduling.lengths import Histograms
from andante.sim.contents import Contents
from andante.sim.decisions import Policy
from andante.sim.state import QUEUE_ENDS, Pool, Queue, State


class Replicas(NamedTuple):
    """The fleet's changing state; tables have the shape (rows, size of the replica's own array)."""

    blank: State
    """A replica before its first request. Its arrays of requests are those of all replicas."""
    policy: Policy
    """The policy of a new replica."""
    fit: Sums
    """The fit of the step time of a new replica."""
    owner: Ints
    """The pod to which each request was sent last, or -1; shape (requests,)."""
    pods: Ints
    """The pod in each row, or -1; shape (rows,)."""
    present: IntTable
    batch: IntTable
    victims: IntTable
    readers: IntTable
    counts: IntTable
    clocks: Table
    flights: Table
    passengers: IntTable
    following: IntTable
    preceding: IntTable
    references: IntTable
    content: IntTable
    twin: IntTable
    keys: IntTable
    blocks: IntTable
    memory: Table
    lengths: Table
    rests: Table
    unseen: IntTable
    squares: Table
    products: Table
    quality: Table

    @classmethod
    def of(cls, blank: State, policy: Policy, fit: Sums) -> Self:
        """A fleet of no rows."""
        owner = np.full(blank.status.size, -1)
        blank = blank._replace(present=blank.present[:0])  # a row of the table has room for what is on the replica
        empty: dict[str, Any] = {
            name: np.empty((0, own.size), own.dtype) for name, own in _own(blank, policy, fit).items()
        }
        pods = np.empty(0, dtype=np.int64)
        return cls(blank=blank, policy=policy, fit=fit, owner=owner, pods=pods, **empty)

    def with_rows(self, rows: int) -> Self:
        """The fleet with `rows` new rows, without pods."""
        blank, known = self.blank, self.blank.status.size + self.pods.size
        ends = np.arange(known, known + rows)
        queue = Queue(*(np.concatenate((ring[:known], ends)) for ring in blank.queue))
        tables: dict[str, Any] = {}
        for name in _own(blank, self.policy, self.fit):
            table = getattr(self, name)
            tables[name] = np.concatenate((table, np.zeros((rows, table.shape[1]), table.dtype)))
        pods = np.concatenate((self.pods, np.full(rows, -1)))
        return self._replace(blank=blank._replace(queue=queue), pods=pods, **tables)

    def with_room(self, requests: int) -> Self:
        """The fleet where each replica has room for `requests` requests."""
        wide = self.present.shape[1]
        if requests <= wide:
            return self
        more = np.zeros((self.pods.size, max(requests, 2 * wide) - wide), dtype=np.int64)
        return self._replace(present=np.ascontiguousarray(np.concatenate((self.present, more), axis=1)))

    def begin(self, row: int, pod: int) -> None:
        """Put a new replica into the row."""
        for name, own in _own(self.blank, self.policy, self.fit).items():
            if name != "present":  # says nothing before the first request, and a row has more room than `own`
                getattr(self, name)[row] = own
        place = self.blank.status.size + row
        self.counts[row, QUEUE_ENDS] = place
        self.blank.queue.following[place] = self.blank.queue.preceding[place] = place
        self.pods[row] = pod


def _own(state: State, policy: Policy, fit: Sums) -> dict[str, Floats | Ints]:
    """A replica's own arrays, by the name of the table of which each is a row."""
    pool = state.pool
    return {
        "present": state.present,
        "batch": state.batch,
        "victims": state.victims,
        "readers": state.readers,
        "counts": state.counts,
        "clocks": state.clocks,
        "flights": state.flights,
        "passengers": state.passengers,
        "following": pool.following,
        "preceding": pool.preceding,
        "references": pool.references,
        "content": pool.content,
        "twin": pool.twin,
        "keys": pool.findable.keys,
        "blocks": pool.findable.blocks,
        "memory": policy.memory,
        "lengths": policy.lengths.counts.ravel(),
        "rests": policy.lengths.table.ravel(),
        "unseen": policy.lengths.unseen,
        "squares": fit.squares.ravel(),
        "products": fit.products,
        "quality": fit.quality,
    }


@inner
def state_of(replicas: Replicas, row: int) -> State:
    """The state of the replica in the row; a change is one of the fleet's."""
    shared = replicas.blank
    findable = Contents(replicas.keys[row], replicas.blocks[row])
    pool = Pool(
        replicas.following[row], replicas.preceding[row], replicas.references[row], replicas.content[row],
        replicas.twin[row], findable, shared.pool.contents, shared.pool.held,
    )  # fmt: skip
    return State(
        shared.status, shared.comes, shared.follows, shared.accompanied, shared.computed, shared.blocks,
        shared.delivered, shared.preemptions, shared.ahead, shared.step_tokens, shared.prefilling, shared.cached,
        shared.shared, shared.lag, shared.area, shared.first, shared.last, shared.gone, replicas.present[row],
        replicas.batch[row], replicas.victims[row], replicas.readers[row], replicas.counts[row], replicas.clocks[row],
        replicas.flights[row], replicas.passengers[row], pool, shared.queue, shared.host, shared.token_times,
        shared.first_time,
    )  # fmt: skip


@inner
def policy_of(replicas: Replicas, row: int) -> Policy:
    """The policy of the replica in the row, with what it has learned."""
    new = replicas.policy
    shared = new.lengths
    lengths = Histograms(
        replicas.lengths[row].reshape(shared.counts.shape), replicas.rests[row].reshape(shared.table.shape),
        shared.edges, shared.middle, shared.column, replicas.unseen[row],
    )  # fmt: skip
    return Policy(
        new.asked, new.settings, replicas.memory[row], lengths, new.kv_groups, new.learns_lengths, new.learns_step_time
    )


@inner
def fit_of(replicas: Replicas, row: int) -> Sums:
    """The fit of the step time of the replica in the row."""
    new = replicas.fit
    squares = replicas.squares[row].reshape(new.squares.shape)
    return Sums(squares, replicas.products[row], new.pull, new.pulled, replicas.quality[row])
