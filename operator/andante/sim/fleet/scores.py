"""Scores many requests at once as the production meter scores each (`andante.domain.request_meter.RequestMeter`).

In arrays, because a fleet has thousands of open requests at each scrape. A test compares every field of `Scores` with
the meter's, of requests that are open and of those that ended, but for the penalty of programs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from andante.domain.compiled import Bools, Floats, Ints
from andante.domain.request_meter import Objective
from andante.sim.requests import Requests
from andante.sim.state import ENDED, LEFT, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """The scores of some requests, ended or open; arrays of shape (some,)."""

    counts: Bools
    """Whether the request counts in QoE: a reader or a program, not batch."""
    qoe: Floats
    """In [0, 1]; 0 where it does not count."""
    good: Bools
    deficit: Floats
    """0 if good, else objective - QoE."""
    idle_penalty: Floats
    """Pace x user idle latency, tokens; 0 for a program, whose pace `Requests` does not keep."""
    gave_up: Bools
    """Whether the reader left after a wait with nothing left to read."""


def scores(requests: Requests, state: State, which: Ints, *, now: float, objective: Objective) -> Scores:
    """The scores at `now` of the requests `which`: of those that are over, as they ended."""
    status, tokens = state.status[which], state.delivered[which].astype(np.float64)
    ttft, period = requests.expected_ttft[which], requests.seconds_per_token[which]
    deadline = requests.deadline[which]
    over, complete, left = status >= ENDED, status == ENDED, status == LEFT
    last = state.last[which]
    # A step that runs at `now` has delivered its tokens already: nothing is judged from before them.
    since = np.fmax(np.where(over, state.gone[which], now) - requests.arrival[which], last)
    reads, program = period > 0, np.isfinite(deadline)
    ttft = np.where(reads, ttft, 0.0)
    pace = 1.0 / np.where(reads, period, 1.0)
    lag, area = state.lag[which], state.area[which]

    due = np.floor((since - ttft) * pace) + 1.0
    due += np.where(ttft + due * period <= since, 1.0, np.where(ttft + (due - 1.0) * period > since, -1.0, 0.0))
    due = np.where(since >= ttft, due, 0.0)
    missing = np.where(complete, 0.0, np.maximum(due - tokens, 0.0))
    late = missing * (since - ttft) - missing * (tokens + due - 1.0) / 2 * period
    area = area + np.maximum(late, 0.0)
    length = tokens + missing
    reading = length * (length + 1.0) / 2
    nothing = length == 0
    qoe = np.where(nothing, np.where(complete, 0.0, 1.0), reading / np.where(nothing, 1.0, reading + area * pace))
    delay = np.where(nothing, np.where(complete, np.inf, 0.0), area / np.where(nothing, 1.0, length))

    behind = np.where(program, np.maximum(np.where(complete, last, since) - deadline, 0.0), 0.0)
    qoe = np.where(program, np.where(behind > 0, 0.0, 1.0), qoe)
    delay = np.where(program, behind, delay)

    dry = np.where(program, deadline, ttft + tokens * period + lag)
    gave_up = left & (reads | program) & (since - dry > objective.gave_up_after)
    unserved = left & ~gave_up & (tokens == 0) & (delay > 0)
    cut = (over & ~complete & ~left) | gave_up
    qoe = np.where(cut | unserved, 0.0, qoe)
    delay = np.where(cut, np.inf, delay)

    counts = reads | program
    good = counts & ((qoe >= objective.qoe) | ((objective.tolerated_delay > 0) & (delay <= objective.tolerated_delay)))
    idle = np.where(lag > 0, np.maximum(lag - period, 0.0), 0.0)
    idle = np.where(complete, idle, np.maximum(idle, since - (ttft + (tokens + 1.0) * period)))
    idle = np.where(program, behind, np.maximum(idle, 0.0))
    return Scores(
        counts=counts,
        qoe=np.where(counts, qoe, 0.0),
        good=good,
        deficit=np.where(counts & ~good, np.maximum(objective.qoe - qoe, 0.0), 0.0),
        idle_penalty=np.where(reads, idle * pace, 0.0),
        gave_up=gave_up,
    )
