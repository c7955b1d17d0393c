"""Chooses the replica of each request, as the clusters' routers do."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple, Self

import numpy as np

from andante.domain.compiled import Bools, Floats, Ints, inner
from andante.sim.fleet.compiled.replicas import Replicas
from andante.sim.state import GONE, SENT


class Router(IntEnum):
    """How a request gets to a replica."""

    RANDOM_PER_CONNECTION = 0
    """As kube-proxy with clients that keep connections: each connection has a replica that was chosen at random when it
    was opened, so a new replica gets requests only as connections are opened again."""
    ROUND_ROBIN = 1
    LEAST_OUTSTANDING = 2
    """The replica with the fewest requests at the moment."""


_RANDOM, _IN_TURN = int(Router.RANDOM_PER_CONNECTION), int(Router.ROUND_ROBIN)


class Routing(NamedTuple):
    """A router's state. A tuple, because compiled code takes tuples."""

    router: int
    takes: Bools
    """Whether the router sends requests to the replica in each row, shape (rows,)."""
    connections: Ints
    """The row to which each kept connection goes, or -1."""
    closes: Floats
    """When each connection is closed, seconds from the start."""
    kept: float
    """Seconds for which a connection is kept."""
    newest: Ints
    """The row of the newest request, shape (1,)."""

    @classmethod
    def of(cls, router: Router, *, connections: int, kept: float) -> Self:
        """A router without replicas."""
        return cls(
            int(router), np.zeros(0, dtype=np.bool_), np.full(connections, -1), np.zeros(connections), kept,
            np.full(1, -1),
        )  # fmt: skip

    def with_rows(self, rows: int) -> Self:
        """The router that knows `rows` rows more."""
        return self._replace(takes=np.concatenate((self.takes, np.zeros(rows, dtype=np.bool_))))

    def stop(self, row: int) -> None:
        """Send nothing to the row any more, and close its connections."""
        self.takes[row] = False
        self.connections[self.connections == row] = -1


@inner
def _at_random(takes: Bools, whither: float) -> int:
    many = 0
    for row in range(takes.size):
        many += takes[row]
    left = int(whither * many)
    for row in range(takes.size):
        if takes[row]:
            if left == 0:
                return row
            left -= 1
    return -1


@inner
def chosen(routing: Routing, replicas: Replicas, at: float, which: float, whither: float) -> int:
    """The row for a request at `at` seconds, or -1 where no replica serves; two random numbers in [0, 1)."""
    if routing.router == _RANDOM:
        connection = int(which * routing.connections.size)
        row = routing.connections[connection]
        if row < 0 or routing.closes[connection] <= at:
            row = _at_random(routing.takes, whither)
            routing.connections[connection] = row
            routing.closes[connection] = at + routing.kept
        return int(row)
    rows = routing.takes.size
    best, fewest = -1, 0
    for turn in range(1, rows + 1):
        row = (routing.newest[0] + turn) % rows
        if not routing.takes[row]:
            continue
        if routing.router == _IN_TURN:
            best = row
            break
        outstanding = replicas.counts[row, SENT] - replicas.counts[row, GONE]
        if best < 0 or outstanding < fewest:
            best, fewest = row, outstanding
    if best >= 0:
        routing.newest[0] = best
    return int(best)
