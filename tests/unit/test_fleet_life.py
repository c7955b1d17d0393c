"""The life of a fleet's replicas, event by event, and what each costs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from andante.sim.fleet.compiled.routing import Router
from andante.sim.fleet.outcome import FleetOutcome
from andante.sim.fleet.run import run_fleet
from andante.sim.fleet.settings import Cluster, Fault, FaultKind, Shortage, WarmUp
from andante.sim.requests import Requests
from unit.sim_workloads import engine, requests
from unit.test_fleet_properties import Planned

SOON = Cluster(warmup=WarmUp(median=5.0), router=Router.ROUND_ROBIN, scrape_every=1.0, scrape_lag=0.0)
ROOMY = engine(blocks=400, max_step_tokens=512)


def steady(seconds: float, **more: Any) -> Requests:
    """A short answer (.3 s alone) twice a second, and a wait of at most 4 s."""
    arrival = np.arange(0.0, seconds, 0.5)
    return requests(arrival.tolist(), [20] * arrival.size, [25] * arrival.size, **{"patience": 4.0, **more})


def run(workload: Requests, cluster: Cluster, *wanted: int, start: int = 1, **more: Any) -> FleetOutcome:
    return run_fleet(workload, ROOMY, Planned(list(wanted), period=10.0), start=start, cluster=cluster, **more)


def test_a_new_replica_is_paid_from_its_start_and_serves_after_its_warm_up() -> None:
    outcome = run(steady(30.0), SOON, 2, end=30.0)
    assert outcome.replica_hours * 3600 == pytest.approx(30 + 20)
    ready = dict(zip(outcome.series.at.tolist(), outcome.series.ready.tolist(), strict=True))
    assert (ready[14.0], ready[15.0]) == (1, 2)
    assert outcome.series.spec.tolist() == [1] * 10 + [2] * 20


def test_round_robin_sends_every_second_request_to_the_second_replica() -> None:
    """On a replica for one request at a time, half of a burst waits for one answer fewer."""
    burst = requests([0.0] * 4, [20] * 4, [25] * 4)
    small = engine(max_seqs=1)
    one, two = (run_fleet(burst, small, Planned([]), start=n, cluster=SOON, end=9.0) for n in (1, 2))
    assert two.finish[1] == pytest.approx(one.finish[0])
    assert two.finish[3] == pytest.approx(one.finish[1])


def test_least_outstanding_avoids_the_replica_with_the_long_answer() -> None:
    work = requests([0.0, 0.1, 1.0, 2.0, 3.0], [20] * 5, [400, 10, 10, 10, 10])
    small = engine(max_seqs=1)

    def wait(router: Router) -> float:
        cluster = replace(SOON, router=router)
        outcome = run_fleet(work, small, Planned([]), start=2, cluster=cluster, end=9.0)
        return float(outcome.first_token[1:].max())

    assert wait(Router.LEAST_OUTSTANDING) < 0.1
    assert wait(Router.ROUND_ROBIN) > 1.0


def test_a_kept_connection_stays_with_its_replica() -> None:
    """One connection: a second replica gets nothing while the connection is kept."""
    work = requests([0.0, 0.1, 12.0, 12.1], [20] * 4, [25] * 4)
    kept = replace(SOON, router=Router.RANDOM_PER_CONNECTION, connections=1, kept=100.0)
    small = engine(max_seqs=1)
    outcome = run_fleet(work, small, Planned([2], period=2.0), start=1, cluster=kept, end=20.0)
    assert outcome.first_token[3] > 0.1


def test_a_pod_that_never_gets_ready_is_paid_and_serves_nobody() -> None:
    never = replace(SOON, warmup=WarmUp(median=5.0, never=1.0))
    outcome = run(steady(30.0), never, 2, end=30.0)
    assert outcome.series.ready.max() == 1
    assert outcome.replica_hours * 3600 == pytest.approx(30 + 20)


def test_a_pod_without_a_gpu_is_pending_and_not_paid() -> None:
    short = replace(SOON, shortages=(Shortage(at=0.0, gpus=1), Shortage(at=18.0, gpus=2)))
    outcome = run(steady(30.0), short, 2, end=30.0)
    assert outcome.replica_hours * 3600 == pytest.approx(30 + 12)
    assert outcome.series.at[np.argmax(outcome.series.ready == 2)] == 23.0


def test_a_crash_costs_the_open_requests_and_a_warm_up() -> None:
    long = requests([0.0, 1.0, 12.0], [20] * 3, [300, 300, 10])
    crash = replace(SOON, faults=(Fault(at=2.0, pod=0, kind=FaultKind.CRASH),))
    outcome = run(long, crash, end=20.0)
    assert outcome.errors.tolist() == [1, 1, 0]
    assert outcome.qoe.tolist() == [0.0, 0.0, 1.0]
    assert outcome.series.ready[[2, 6]].tolist() == [0, 1]
    assert outcome.replica_hours * 3600 == pytest.approx(20)


def test_clients_that_retry_get_their_answers_late() -> None:
    long = requests([0.0, 1.0, 12.0], [20] * 3, [300, 300, 10])
    crash = replace(SOON, faults=(Fault(at=2.0, pod=0, kind=FaultKind.CRASH),), retries=True)
    outcome = run(long, crash, start=2, end=20.0)
    assert outcome.errors.tolist() == [1, 0, 0]
    assert outcome.tokens.tolist() == [300, 300, 10]
    assert outcome.first_token[0] > 3.0


def test_a_hung_engine_gets_requests_until_the_kubelet_notices() -> None:
    hang = replace(SOON, hang_noticed_after=8.0, faults=(Fault(at=5.1, pod=0, kind=FaultKind.HANG),))
    outcome = run(steady(30.0), hang, end=30.0)
    came = steady(30.0).arrival
    assert outcome.left[(came > 5.2) & (came < 9.0)].all()  # their patience ends before the kubelet notices
    assert (outcome.errors[(came > 9.2) & (came < 18.0)] == 1).all()
    assert outcome.good[came > 18.2].all()


def test_a_draining_replica_finishes_its_streams_and_is_paid_until_then() -> None:
    work = requests([0.0, 0.1, 12.0], [20] * 3, [1000, 1000, 10])
    outcome = run_fleet(work, ROOMY, Planned([1], period=2.0), start=2, cluster=SOON, end=30.0)
    first = outcome.finish[:2].max()
    assert first > 5.0
    assert outcome.cut == 0
    assert outcome.tokens.tolist() == [1000, 1000, 10]
    assert 30 + 5.0 < outcome.replica_hours * 3600 <= 30 + first


def test_streams_that_outlast_the_drain_are_cut() -> None:
    work = requests([0.0, 0.1, 12.0], [20] * 3, [1000, 1000, 10])
    cluster = replace(SOON, drain_limit=3.0)
    outcome = run_fleet(work, ROOMY, Planned([1], period=2.0), start=2, cluster=cluster, end=30.0)
    assert outcome.cut == 1
    assert outcome.errors.sum() == 1
    assert outcome.replica_hours * 3600 == pytest.approx(30 + 5)


def test_the_replica_with_the_fewest_readers_leaves() -> None:
    """As production chooses: the one that is busy stays, although it became ready last. Kubernetes alone would delete
    it, and its streams, which outlast the drain, would be cut."""
    work = requests([16.0, 16.1, 16.2], [20] * 3, [1000, 10, 1000])
    cluster = replace(SOON, drain_limit=1.0)
    outcome = run_fleet(work, ROOMY, Planned([2, 1], period=10.0), start=1, cluster=cluster, end=30.0)
    assert outcome.finish[[0, 2]].min() > 21.0
    assert outcome.cut == 0
    assert outcome.changes == ((0.0, 1), (10.0, 2), (20.0, 1))


def test_without_a_replica_a_request_fails() -> None:
    crash = replace(SOON, faults=(Fault(at=2.1, pod=0, kind=FaultKind.CRASH),))
    outcome = run(steady(12.0), crash, end=12.0)
    came = steady(12.0).arrival
    assert (outcome.errors[(came > 2.1) & (came < 7.1)] == 1).all()
    assert outcome.good[came > 7.2].all()


def test_recovery_is_the_time_until_readers_are_served_well_again() -> None:
    crash = replace(SOON, faults=(Fault(at=20.1, pod=0, kind=FaultKind.CRASH),))
    outcome = run(steady(60.0), crash, end=60.0)
    assert outcome.recovery(after=20.0, target=0.95, window=2.0) == pytest.approx(6.0)
    assert outcome.recovery(after=30.0, target=0.95) == 0.0


def test_a_warm_up_has_a_tail_and_an_end() -> None:
    random = np.random.default_rng(1)
    seconds = np.array([WarmUp(median=100.0, p95=300.0, longest=480.0).draw(random) for _ in range(2_000)])
    assert np.median(seconds) == pytest.approx(100, rel=0.05)
    assert np.quantile(seconds, 0.95) == pytest.approx(300, rel=0.1)
    assert seconds.max() == 480.0
    assert {WarmUp(median=15.0).draw(random) for _ in range(9)} == {15.0}


@pytest.mark.parametrize(
    "wrong",
    [{"median": 0.0}, {"median": 9.0, "p95": 8.0}, {"median": 9.0, "longest": 8.0}, {"median": 9.0, "never": 2.0}],
)
def test_a_warm_up_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        WarmUp(**wrong)
