"""What holds of every run of a fleet: nothing is lost or doubled, and one replica of a fleet is the simulated one."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andante.domain.deficit_cause import Cause, DeficitByCause, split_deficit
from andante.domain.idle_replica import IdleReplica
from andante.domain.request_meter import Objective, RequestMeter, RequestScore
from andante.domain.request_meter import Outcome as Ending
from andante.domain.scheduling.latency import OnlineStepTime
from andante.sim.engine import Engine
from andante.sim.fleet.causes import causes, idle_replica
from andante.sim.fleet.compiled.routing import Router
from andante.sim.fleet.outcome import FleetOutcome
from andante.sim.fleet.run import run_fleet
from andante.sim.fleet.scaler import Sight, Static
from andante.sim.fleet.scores import scores
from andante.sim.fleet.settings import Cluster, Fault, FaultKind, Shortage, WarmUp
from andante.sim.replica import advance
from andante.sim.requests import Requests
from andante.sim.run import Scheduling, policy_for, simulate
from andante.sim.state import COMING, ENDED, LEFT, LINE, State, send_all
from unit.sim_workloads import CLASSES
from unit.test_sim_properties import engines, workloads

OBJECTIVE = Objective()
small_engines = engines.map(lambda small: small._replace(host_blocks=0))  # a fleet's replicas have none


@dataclass
class Planned:
    """Wants what it was told to want, one number after the other."""

    numbers: list[int]
    period: float = 2.0

    def wanted(self, sight: Sight) -> int:
        return self.numbers.pop(0) if self.numbers else sight.spec


clusters = st.builds(
    Cluster,
    warmup=st.builds(WarmUp, median=st.sampled_from((0.5, 3.0)), p95=st.sampled_from((None, 9.0)), never=st.just(0.1)),
    router=st.sampled_from(Router),
    connections=st.sampled_from((1, 8)),
    kept=st.sampled_from((0.5, 60.0)),
    drain_limit=st.sampled_from((0.3, 60.0)),
    hang_noticed_after=st.just(2.0),
    faults=st.lists(
        st.builds(Fault, at=st.floats(0.1, 9), pod=st.integers(0, 4), kind=st.sampled_from(FaultKind)), max_size=3
    ).map(tuple),
    shortages=st.lists(st.builds(Shortage, at=st.floats(0, 5), gpus=st.integers(1, 4)), max_size=1).map(tuple),
    retries=st.booleans(),
    scrape_every=st.sampled_from((1.0, 5.0)),
    scrape_lag=st.sampled_from((0.0, 2.0)),
)  # fmt: skip
scheduling = st.sampled_from((None, Scheduling()))


@given(workloads(), small_engines, st.sampled_from(Router), scheduling, st.sampled_from((0.25, 15.0)))
@settings(max_examples=30, deadline=None)
def test_one_replica_of_a_fleet_is_the_simulated_replica(
    workload: Requests, small: Engine, router: Router, how: Scheduling | None, every: float
) -> None:
    alone = simulate(workload, small, how)
    fleet = run_fleet(
        workload, small, Static(1), start=1, scheduling=how, cluster=Cluster(router=router, scrape_every=every)
    )
    for name in ("finish", "first_token", "tokens", "left"):
        assert getattr(fleet, name).tobytes() == getattr(alone, name).tobytes(), name
    assert (fleet.steps, fleet.preemptions) == (alone.steps, alone.all_preemptions)


@given(workloads(), small_engines, clusters, st.lists(st.integers(1, 4), max_size=6), scheduling, st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_every_request_ends_once_and_the_same_run_comes_out_the_same(
    workload: Requests, small: Engine, cluster: Cluster, numbers: list[int], how: Scheduling | None, seed: int
) -> None:
    """`run_fleet` raises where a block or a request is lost; the rest is seen from outside."""

    def run() -> FleetOutcome:
        return run_fleet(
            workload, small, Planned(list(numbers)), start=2, cluster=cluster, scheduling=how, end=12.0, seed=seed
        )

    once, again = run(), run()
    assert _numbers(once) == _numbers(again)
    assert np.isfinite(once.finish).all()
    assert (once.finish >= workload.arrival).all()
    whole = ~once.left & (once.errors == 0)
    assert (once.tokens[whole] == workload.output[whole]).all()
    assert (once.errors <= (2 if cluster.retries else 1)).all()
    assert not once.good[(once.errors > 0) & ~np.isfinite(once.first_token) & ~once.left].any()
    assert 0 < once.replica_hours <= 12 / 3600 * 8
    assert once.changes[0] == (0.0, 2)


@given(workloads(), small_engines, scheduling, st.sampled_from((0.0, 0.013)), st.sampled_from((0.5, 3.0, 12.0, 1e9)))
@settings(max_examples=60, deadline=None)
def test_every_request_is_scored_as_the_production_meter_scores_it(
    workload: Requests, small: Engine, how: Scheduling | None, output_path: float, until: float
) -> None:
    """Each request that has come by `until`, open or ended, and the causes of what it lacks."""
    small = small._replace(output_path=output_path)
    state = served(workload, small, how, until=until)
    which = np.flatnonzero(state.status != COMING)
    scored = scores(workload, state, which, now=until, objective=OBJECTIVE)
    again = np.zeros(which.size, dtype=np.bool_)
    idle = idle_replica(small, fitted=how is not None)
    why = causes(workload, state, which, scored, again=again, idle=idle, now=until, objective=OBJECTIVE)
    for place, request in enumerate(which.tolist()):
        judged = metered(workload, state, request, idle, now=until)
        assert scored.counts[place] == (judged.score.qoe is not None)
        assert scored.qoe[place] == pytest.approx(judged.score.qoe or 0.0, abs=1e-9)
        assert scored.good[place] == bool(judged.score.good)
        assert scored.deficit[place] == pytest.approx(judged.score.deficit or 0.0, abs=1e-9)
        assert scored.gave_up[place] == (judged.outcome is Ending.GAVE_UP)
        for cause in Cause:
            assert why.deficit[cause][place] == pytest.approx(judged.causes.of(cause), abs=1e-9), cause
        if np.isfinite(workload.deadline[request]):
            assert scored.idle_penalty[place] == why.unavoidable_penalty[place] == 0.0  # left out, for programs
            continue
        assert scored.idle_penalty[place] == pytest.approx(judged.score.idle_penalty, abs=1e-6)
        if judged.outcome is not None:
            assert why.unavoidable_penalty[place] == pytest.approx(judged.unavoidable_penalty, abs=1e-6)


@given(workloads(), small_engines, scheduling)
@settings(max_examples=20, deadline=None)
def test_a_fleet_tells_these_scores(workload: Requests, small: Engine, how: Scheduling | None) -> None:
    fleet = run_fleet(workload, small, Static(1), start=1, scheduling=how)
    state = served(workload, small, how, until=math.inf)
    every = np.arange(workload.arrival.size)
    scored = scores(workload, state, every, now=fleet.end, objective=OBJECTIVE)
    for name in ("counts", "qoe", "good", "idle_penalty"):
        assert getattr(fleet, name).tobytes() == getattr(scored, name).tobytes(), name


def served(workload: Requests, small: Engine, how: Scheduling | None, *, until: float) -> State:
    """One replica that was sent everything, after `until` seconds."""
    chosen = how or Scheduling()
    state = State.of(workload, small, record_times=True)
    send_all(state)
    state.clocks[LINE : LINE + 4] = chosen.step_time
    policy = policy_for(workload, chosen, asked=how is not None)
    advance(chosen.decide, workload, small, state, policy, OnlineStepTime(chosen.step_time).sums, until)
    return state


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What production's meter says of a request."""

    score: RequestScore
    outcome: Ending | None
    causes: DeficitByCause
    unavoidable_penalty: float


def metered(workload: Requests, state: State, request: int, idle: IdleReplica, *, now: float) -> Judged:
    """As `andante_vllm.metered_request` asks the meter of a stream with one sequence."""
    meter = RequestMeter(expectation=CLASSES[int(workload.class_index[request])].expectation(workload.prompt[request]))
    tokens, first = int(state.delivered[request]), int(state.first_time[request])
    meter.deliver_all(state.token_times[first : first + tokens].tolist(), [1] * tokens)
    over = state.status[request] >= ENDED
    at = float((state.gone[request] if over else now) - workload.arrival[request])
    at = max(at, float(state.last[request])) if tokens else at
    outcome = (meter.left(at) if state.status[request] == LEFT else Ending.COMPLETED) if over else None
    score = meter.open(at) if outcome is None else meter.ended(outcome, at=at)
    timeline = idle.timeline(
        prompt_tokens=int(workload.prompt[request]),
        cached_tokens=0,
        hidden_tokens=0,
        visible_tokens=tokens,
        sequences=1,
    )
    alone = not state.accompanied[request]
    return Judged(
        score=score,
        outcome=outcome,
        causes=split_deficit(
            score.deficit or 0.0,
            outcome=outcome,
            idle_deficit=meter.idle_deficit(timeline, outcome, at=at),
            alone=alone,
        ),
        unavoidable_penalty=score.idle_penalty
        if alone
        else min(score.idle_penalty, meter.idle_penalty(timeline, outcome, at=at)),
    )


def _numbers(outcome: FleetOutcome) -> list[Any]:
    def plain(value: Any) -> Any:
        return value.tobytes() if isinstance(value, np.ndarray) else value

    series = {name: plain(getattr(outcome.series, name)) for name in outcome.series.__dataclass_fields__}
    bare = replace(outcome, series=None)
    return [series, *(plain(getattr(bare, name)) for name in bare.__dataclass_fields__)]
