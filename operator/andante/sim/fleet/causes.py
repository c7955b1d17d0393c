"""Splits the deficits of many requests by cause, as the production meter does for each.

A reader who would be late on an idle replica too is rare, so only for such readers does this ask the production meter
itself, one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from andante.domain.compiled import Bools, Floats, Ints
from andante.domain.deficit_cause import Cause, split_deficit
from andante.domain.idle_replica import START, IdleReplica
from andante.domain.pace import Expectation
from andante.domain.request_meter import Objective, Outcome, RequestMeter
from andante.domain.step_time import StepTimeCoefficients
from andante.sim.engine import Engine
from andante.sim.fleet.scores import Scores
from andante.sim.requests import Requests
from andante.sim.state import CUT, ENDED, FAILED, LEFT, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Causes:
    """Parts of some requests' deficits and penalties; arrays of shape (some,)."""

    deficit: dict[Cause, Floats]
    unavoidable_penalty: Floats
    """The part of the idle penalty, in tokens, that an idle replica would have too."""


def idle_replica(engine: Engine, *, fitted: bool) -> IdleReplica:
    """What the engine's meter takes for an idle replica like `engine`.

    `fitted`: its scheduler fits the step time; here the meter knows the exact one, which such a fit comes close to.
    Under vLLM's own scheduling nothing is fitted, and the meter guesses a usual GPU.
    """
    if not fitted:
        return replace(START, chunk=engine.max_step_tokens)
    alone = IdleReplica.from_profile(StepTimeCoefficients(**engine.step_time._asdict()))
    return replace(alone, chunk=engine.max_step_tokens)


def causes(
    requests: Requests,
    state: State,
    which: Ints,
    scored: Scores,
    *,
    again: Bools,
    idle: IdleReplica,
    now: float,
    objective: Objective,
) -> Causes:
    """The causes of the deficits of the requests `which`. `again`: whether an earlier attempt of the request failed."""
    status = state.status[which]
    failed = (status == FAILED) | (status == CUT) | again
    alone = ~state.accompanied[which] & ~failed
    of_idle = np.where(alone, scored.deficit, 0.0)
    unavoidable = np.where(alone, scored.idle_penalty, 0.0)
    rest = (scored.deficit > 0) | (scored.idle_penalty > 0)
    for place in np.flatnonzero(rest & ~alone & ~failed & _late_when_idle(requests, which, idle)):
        deficit, penalty = _asked(requests, state, int(which[place]), scored, int(place), idle, now, objective)
        of_idle[place] = deficit
        unavoidable[place] = min(penalty, scored.idle_penalty[place])
    nothing = np.zeros(which.size)
    return Causes(
        deficit={
            Cause.LOAD: np.where(failed, 0.0, scored.deficit - of_idle),
            Cause.IDLE: of_idle,
            Cause.FAILED: np.where(failed, scored.deficit, 0.0),
            Cause.CLIENT: nothing,
        },
        unavoidable_penalty=unavoidable,
    )


def _late_when_idle(requests: Requests, which: Ints, idle: IdleReplica) -> Bools:
    """Whether a token could be late on an idle replica; never wrongly False."""
    prompt = requests.prompt[which].astype(np.float64)
    first = np.ceil(prompt / idle.chunk) * idle.base + idle.prefill_token * prompt
    step = idle.base + idle.sequence + idle.context_token * (prompt + requests.output[which])
    late = (first > requests.expected_ttft[which]) | (step > requests.seconds_per_token[which])
    answer: Bools = late | np.isfinite(requests.deadline[which])
    return answer


def _asked(
    requests: Requests,
    state: State,
    request: int,
    scored: Scores,
    place: int,
    idle: IdleReplica,
    now: float,
    objective: Objective,
) -> tuple[float, float]:
    """The idle deficit and the unavoidable penalty of one request, by the production meter."""
    period, deadline = float(requests.seconds_per_token[request]), float(requests.deadline[request])
    reads = period > 0
    wanted = Expectation(
        expected_ttft=float(requests.expected_ttft[request]) if reads else 0.0,
        pace=1 / period if reads else 1.0,
        deadline=None if reads else deadline,
    )
    meter = RequestMeter(expectation=wanted, objective=objective)
    tokens = int(state.delivered[request])
    if tokens:
        meter.deliver(float(state.last[request]), tokens)
    outcome = None
    if state.status[request] >= ENDED:
        outcome = Outcome.COMPLETED
        if state.status[request] == LEFT:
            outcome = Outcome.GAVE_UP if scored.gave_up[place] else Outcome.ABORTED
        now = float(state.gone[request])
    since = max(now - float(requests.arrival[request]), float(np.nan_to_num(state.last[request])))
    timeline = idle.timeline(
        prompt_tokens=int(requests.prompt[request]),
        cached_tokens=0,
        hidden_tokens=0,
        visible_tokens=tokens,
        sequences=1,
    )
    reckoned = meter.idle_deficit(timeline, outcome, at=since)
    parts = split_deficit(float(scored.deficit[place]), outcome=outcome, idle_deficit=reckoned)
    penalty = meter.idle_penalty(timeline, outcome, at=since) if reads else 0.0
    return parts.idle, penalty
