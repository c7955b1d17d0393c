"""What a law could do that knew all arrivals: buy one warm-up ahead of the work, keep it for the next minutes."""

from __future__ import annotations

import math

import numpy as np
from benchmarks.league.cases import WARMUPS, Case, engine_of, requests_of, scheduling_of

from andante.domain.compiled import Floats
from andante.sim.fleet.scaler import Scheduled
from andante.sim.requests import Requests
from andante.sim.run import simulate

TICK = 15.0
SMOOTHED = 2
"""Ticks over which work counts as one burst."""
KEPT = 8
"""Ticks for which replicas are kept after the work has gone."""
USES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25)
"""Shares of a replica's throughput that a timetable gives out; the cheapest one that keeps the promise counts."""


def timetable(case: Case, use: float) -> Scheduled:
    """The timetable that gives out `use` of each replica."""
    requests, seconds = requests_of(case)
    load = work(case, requests, seconds)
    ahead = math.ceil(WARMUPS[case.warmup].median / TICK) + 1
    smooth = np.convolve(load, np.ones(SMOOTHED) / SMOOTHED, mode="full")[: load.size]
    wanted = [
        max(1, math.ceil(float(smooth[max(0, tick - KEPT) : tick + ahead + 1].max()) / use - 1e-9))
        for tick in range(load.size)
    ]
    return Scheduled([(tick * TICK, replicas) for tick, replicas in enumerate(wanted)], period=TICK)


def work(case: Case, requests: Requests, seconds: float) -> Floats:
    """Replicas' worth of work that arrives in each tick, by the time that one replica needs for all of it.

    Prompts count by their tokens and answers by theirs, in the ratio of their step times.
    """
    whole = simulate(requests._replace(arrival=np.zeros(requests.arrival.size)), engine_of(case), scheduling_of(case))
    times = engine_of(case).step_time
    sequence = times.decode_seq_us + times.token_us + times.context_token_us * (requests.prompt + requests.output / 2)
    prompt = times.token_us * requests.prompt + times.pair_us * requests.prompt.astype(np.float64) ** 2 / 2
    each = prompt + requests.output * sequence
    place = np.minimum((requests.arrival / TICK).astype(np.int64), math.ceil(seconds / TICK) - 1)
    load: Floats = np.bincount(place, each, minlength=math.ceil(seconds / TICK)) * (whole.busy / each.sum()) / TICK
    return load
