"""Runs a whole fleet from one moment to another: each request to its replica, each replica through its steps."""

from __future__ import annotations

import math
from pathlib import Path

from andante.domain.compiled import Ints, Table, compiled_with, inner
from andante.sim.decisions import Decide
from andante.sim.engine import Engine
from andante.sim.fleet.compiled.replicas import Replicas, fit_of, policy_of, state_of
from andante.sim.fleet.compiled.routing import Router, Routing, chosen
from andante.sim.replica import advance
from andante.sim.requests import Requests
from andante.sim.state import COMING, FAILED, IN_ENGINE, LAST_COMING, NEXT_COMING, NOW, SENT

_LEAST = int(Router.LEAST_OUTSTANDING)


@inner
def _send(replicas: Replicas, request: int, row: int, comes: float) -> None:
    shared, counts = replicas.blank, replicas.counts
    shared.status[request] = COMING
    shared.comes[request] = comes
    shared.follows[request] = -1
    if counts[row, NEXT_COMING] < 0:
        counts[row, NEXT_COMING] = request
    else:
        shared.follows[counts[row, LAST_COMING]] = request
    counts[row, LAST_COMING] = request
    counts[row, SENT] += 1
    replicas.owner[request] = replicas.pods[row]


@inner
def _run(decide: Decide, requests: Requests, engine: Engine, replicas: Replicas, row: int, until: float) -> None:
    counts = replicas.counts
    if (counts[row, IN_ENGINE] > 0 or counts[row, NEXT_COMING] >= 0) and replicas.clocks[row, NOW] < until:
        state, policy, sums = state_of(replicas, row), policy_of(replicas, row), fit_of(replicas, row)
        advance(decide, requests, engine, state, policy, sums, until)


@compiled_with(Path(__file__).parent, Path(__file__).parents[2])
def serve(
    decide: Decide,
    requests: Requests,
    engine: Engine,
    replicas: Replicas,
    routing: Routing,
    first: int,
    again: Ints,
    draws: Table,
    until: float,
) -> tuple[int, int]:
    """Serve what comes before `until` seconds; returns the first request that comes later, and how many of `again`.

    `first`: the first request that has not come yet. `again`: requests that clients send once more, in the order of
    `State.comes`. `draws`: two random numbers in [0, 1) for each request that comes, at least. A request that comes
    while no replica serves fails.
    """
    shared = replicas.blank
    coming, repeated, drawn = first, 0, 0
    while True:
        new = requests.arrival[coming] if coming < requests.arrival.size else math.inf
        old = shared.comes[again[repeated]] if repeated < again.size else math.inf
        at = min(new, old)
        if at >= until:
            break
        if old < new:
            request = again[repeated]
            repeated += 1
        else:
            request = coming
            coming += 1
        if routing.router == _LEAST:
            for row in range(routing.takes.size):
                if routing.takes[row]:
                    _run(decide, requests, engine, replicas, row, at)
        row = chosen(routing, replicas, at, draws[drawn, 0], draws[drawn, 1])
        drawn += 1
        if row < 0:
            shared.status[request] = FAILED
            shared.gone[request] = at
            replicas.owner[request] = -1
        else:
            _send(replicas, request, row, at + engine.hand_over)
    for row in range(routing.takes.size):
        if replicas.pods[row] >= 0:
            _run(decide, requests, engine, replicas, row, until)
    return coming, repeated
