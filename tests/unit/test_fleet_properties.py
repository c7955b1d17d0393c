"""What holds of every run of a fleet: nothing is lost or doubled, and one replica of a fleet is the simulated one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andante.domain.request_meter import Outcome as Ending
from andante.domain.request_meter import RequestMeter
from andante.sim.fleet.compiled.routing import Router
from andante.sim.fleet.outcome import FleetOutcome
from andante.sim.fleet.run import run_fleet
from andante.sim.fleet.scaler import Sight, Static
from andante.sim.fleet.settings import Cluster, Fault, FaultKind, Shortage, WarmUp
from andante.sim.requests import Requests
from andante.sim.run import Scheduling, simulate
from unit.sim_workloads import CLASSES, engine
from unit.test_sim_properties import workloads

SMALL = engine(blocks=30, max_seqs=4)


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


@given(workloads(), st.sampled_from(Router), scheduling, st.sampled_from((0.25, 15.0)))
@settings(max_examples=30, deadline=None)
def test_one_replica_of_a_fleet_is_the_simulated_replica(
    workload: Requests, router: Router, how: Scheduling | None, every: float
) -> None:
    alone = simulate(workload, SMALL, how)
    fleet = run_fleet(
        workload, SMALL, Static(1), start=1, scheduling=how, cluster=Cluster(router=router, scrape_every=every)
    )
    for name in ("finish", "first_token", "tokens", "left"):
        assert getattr(fleet, name).tobytes() == getattr(alone, name).tobytes(), name
    assert (fleet.steps, fleet.preemptions) == (alone.steps, alone.all_preemptions)


@given(workloads(), clusters, st.lists(st.integers(1, 4), max_size=6), scheduling, st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_every_request_ends_once_and_the_same_run_comes_out_the_same(
    workload: Requests, cluster: Cluster, numbers: list[int], how: Scheduling | None, seed: int
) -> None:
    """`run_fleet` raises where a block or a request is lost; the rest is seen from outside."""

    def run() -> FleetOutcome:
        return run_fleet(
            workload, SMALL, Planned(list(numbers)), start=2, cluster=cluster, scheduling=how, end=12.0, seed=seed
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


@given(workloads(), scheduling)
@settings(max_examples=20, deadline=None)
def test_every_request_is_scored_as_the_production_meter_scores_it(workload: Requests, how: Scheduling | None) -> None:
    timed = simulate(workload, SMALL, how, record_times=True)
    fleet = run_fleet(workload, SMALL, Static(1), start=1, scheduling=how)
    assert timed.token_times is not None
    for index, times in enumerate(timed.token_times):
        wanted = CLASSES[int(workload.class_index[index])].expectation(int(workload.prompt[index]))
        meter = RequestMeter(expectation=wanted)
        meter.deliver_all(times.tolist(), [1] * times.size)
        at = float(timed.finish[index] - workload.arrival[index])
        at = max(at, float(times[-1])) if times.size else at
        score = meter.ended(meter.left(at) if timed.left[index] else Ending.COMPLETED, at=at)
        assert fleet.counts[index] == (score.qoe is not None)
        assert fleet.qoe[index] == pytest.approx(score.qoe or 0.0, abs=1e-9)
        assert fleet.good[index] == bool(score.good)
        assert fleet.idle_penalty[index] == pytest.approx(score.idle_penalty, abs=1e-6)


def _numbers(outcome: FleetOutcome) -> list[Any]:
    def plain(value: Any) -> Any:
        return value.tobytes() if isinstance(value, np.ndarray) else value

    series = {name: plain(getattr(outcome.series, name)) for name in outcome.series.__dataclass_fields__}
    bare = replace(outcome, series=None)
    return [series, *(plain(getattr(bare, name)) for name in bare.__dataclass_fields__)]
