"""What a law could do that knew all arrivals: buy one warm-up ahead of the work, keep it for the next minutes."""

from __future__ import annotations

import math

import numpy as np
from benchmarks.league.cases import RECORDINGS, WARMUPS, Case, carried, engine_of, recording, traffic_of

from andante.domain.compiled import Floats, Ints
from andante.sim.fleet.scaler import Scheduled

TICK = 15.0
SMOOTHED = 2
"""Ticks over which work counts as one burst."""
KEPT = 8
"""Ticks for which replicas are kept after the work has gone."""
USES = (0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95, 1.05, 1.2, 1.4, 1.7, 2.0, 2.5)
"""Shares of a replica's throughput that a timetable may give out, rising: the fleet gets smaller."""


def timetable(case: Case, use: float) -> Scheduled:
    """The timetable that gives out `use` of each replica."""
    load = work(case)
    ahead = math.ceil(WARMUPS[case.warmup].median / TICK) + 1
    smooth = np.convolve(load, np.ones(SMOOTHED) / SMOOTHED, mode="full")[: load.size]
    wanted = [
        max(1, math.ceil(float(smooth[max(0, tick - KEPT) : tick + ahead + 1].max()) / use - 1e-9))
        for tick in range(load.size)
    ]
    return Scheduled([(tick * TICK, replicas) for tick, replicas in enumerate(wanted)], period=TICK)


def work(case: Case) -> Floats:
    """Replicas' worth of work that arrives in each tick, by what one replica completes of such requests.

    Prompts count by their tokens and answers by theirs, in the ratio of their step times.
    """
    lengths = case.workload if case.workload in RECORDINGS else "azure-conversation"
    usual = recording(lengths)
    traffic = traffic_of(case.workload, case.half, case.profile, case.seed)
    of_one = _costs(usual.prompt, usual.output, case.profile).mean() * carried(lengths, case.profile)
    ticks = math.ceil(traffic.seconds / TICK)
    place = np.minimum((traffic.arrival / TICK).astype(np.int64), ticks - 1)
    costs = np.bincount(place, _costs(traffic.prompt, traffic.output, case.profile), minlength=ticks)
    load: Floats = costs / of_one / TICK
    return load


def _costs(prompt: Ints, output: Ints, profile: str) -> Floats:
    """What each request adds to the steps, microseconds; the steps' fixed part is left out."""
    times = engine_of(profile).step_time
    sequence = times.decode_seq_us + times.token_us + times.context_token_us * (prompt + output / 2)
    costs: Floats = times.token_us * prompt + times.pair_us * prompt.astype(np.float64) ** 2 / 2 + output * sequence
    return costs
