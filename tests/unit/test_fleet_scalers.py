"""What a fleet shows to laws and to the production scaler, and that these scale it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from andante.api.v1alpha1 import LLMService
from andante.app.scaling import judge
from andante.domain.request_meter import Objective
from andante.domain.scaling.snapshot import Snapshot
from andante.sim.engine import StepTime
from andante.sim.fleet.andante_scaler import AndanteScaler
from andante.sim.fleet.law_scaler import LawScaler
from andante.sim.fleet.run import run_fleet
from andante.sim.fleet.scaler import Static
from andante.sim.fleet.seen import Seen
from andante.sim.fleet.settings import Cluster, WarmUp
from andante.sim.requests import Requests
from andante.sim.run import Scheduling
from unit.sim_workloads import COEFFICIENTS, engine, requests
from unit.test_fleet_life import SOON, steady

SMALL = engine(blocks=400, max_seqs=2, max_step_tokens=512)


@dataclass
class Watching:
    """Keeps what it sees, and wants what it was told."""

    numbers: list[int] = field(default_factory=list)
    period: float = 5.0
    min_replicas: int = 1
    max_replicas: int = 9
    seen: list[Seen] = field(default_factory=list)

    def wanted(self, seen: Seen) -> int:
        self.seen.append(seen)
        return self.numbers.pop(0) if self.numbers else seen.spec


def watched(cluster: Cluster, *numbers: int, seconds: float = 30.0) -> list[Seen]:
    law = Watching(list(numbers))
    run_fleet(steady(seconds), SMALL, LawScaler(law), start=1, cluster=cluster, end=seconds)
    return law.seen


def test_a_law_sees_what_was_scraped_before_the_lag() -> None:
    late = watched(replace(SOON, scrape_every=5.0, scrape_lag=5.0))
    assert [seen.now for seen in late] == [5.0, 10.0, 15.0, 20.0, 25.0, 30.0]
    assert late[0].totals is None
    assert late[0].pods[0].running is None
    assert [seen.totals.arrived for seen in late[1:] if seen.totals] == [10.0, 20.0, 30.0, 40.0, 50.0]
    assert late[1].totals is not None
    assert late[1].totals.arrived_prompt_tokens == 200.0
    assert [seen.totals.at for seen in late[1:] if seen.totals] == [5.0, 10.0, 15.0, 20.0, 25.0]
    assert late[1].ttft_p90 is not None
    assert 0 < late[1].ttft_p90 < 0.1
    assert late[1].tpot_p90 is not None
    assert 0.009 < late[1].tpot_p90 < 0.02


def test_a_pod_that_starts_is_seen_without_figures() -> None:
    seen = watched(replace(SOON, warmup=WarmUp(median=7.0)), 2)
    ready, starting = seen[1].pods
    assert (ready.ready, starting.ready) == (True, False)
    assert starting.running is None
    assert starting.age == 5.0
    assert seen[1].warmup is None
    assert seen[3].warmup == 7.0
    assert seen[3].ready == 2
    assert seen[3].pods[1].ready_for == 8.0
    assert seen[3].pods[1].open_requests is not None


def test_a_queue_is_seen_where_it_is() -> None:
    law = Watching()
    work = requests([0.0] * 5, [20] * 5, [900] * 5)
    run_fleet(work, SMALL, LawScaler(law), start=1, cluster=SOON, end=5.0)
    (pod,) = law.seen[0].pods
    assert (pod.running, pod.waiting, pod.queued_prompt_tokens) == (2.0, 3.0, 60.0)
    assert pod.tokens_in_use is not None
    assert 400 < pod.tokens_in_use < 1_100
    assert pod.kv_use is not None
    assert pod.kv_use == pytest.approx(np.ceil(pod.tokens_in_use / 2 / 16) * 2 / 400)


def test_a_quantile_without_samples_has_no_value() -> None:
    law = Watching()
    cluster = replace(SOON, scrape_every=15.0)
    run_fleet(requests([0.0], [20], [5]), SMALL, LawScaler(law), start=1, cluster=cluster, end=120.0)
    quantiles = [seen.ttft_p90 for seen in law.seen if seen.ttft_p90 is not None]
    assert quantiles[0] > 0
    assert math.isnan(quantiles[-1])


def test_a_law_sees_scrapes_however_late_they_are() -> None:
    seen = watched(replace(SOON, scrape_lag=50.0), seconds=60.0)[-1]
    assert seen.totals is not None
    assert seen.totals.arrived == 20.0  # of the first ten seconds


def service(*, qoe: dict[str, object] | None = None, **scaling: object) -> LLMService:
    """Up to six replicas; one fewer after two minutes."""
    behaviour = {"scaleDown": {"stabilizationWindow": "2m"}}
    rules = {"minReplicas": 1, "maxReplicas": 6, "behavior": behaviour, **scaling}
    spec = {"model": {"id": "org/model"}, "scaling": rules, "qoe": qoe or {}}
    return LLMService.parse({"metadata": {"name": "chat", "namespace": "team"}, "spec": spec})


def surge() -> Requests:
    """Two sequences at a time carry about 7 such answers a second: 12 a second for two minutes are too many for one."""
    random = np.random.default_rng(3)
    gaps = random.exponential(1.0, 2_400)
    busy = np.cumsum(gaps[:1_440]) / 12.0
    calm = busy[-1] + np.cumsum(gaps[1_440:])
    times = np.concatenate((busy, calm)).tolist()
    return requests(times, [20] * len(times), [25] * len(times), patience=20.0)


QUICK = Cluster(warmup=WarmUp(median=15.0), scrape_lag=0.0)


@pytest.mark.parametrize("scheduling", [None, Scheduling()])
def test_the_production_law_buys_when_readers_wait_and_gives_back_when_they_do_not(
    scheduling: Scheduling | None,
) -> None:
    scaler = AndanteScaler(service())
    outcome = run_fleet(surge(), SMALL, scaler, start=1, cluster=QUICK, scheduling=scheduling)
    first, last = scaler.decisions[0], scaler.decisions[-1]
    assert first[0] < 60.0
    assert first[1].replicas > 1
    assert last[1].replicas == outcome.series.spec[-1] == 1
    assert outcome.series.deficit.max() > 0.1
    assert outcome.good[-500:].all()
    assert outcome.cut == 0


@pytest.mark.parametrize(("value", "most"), [(0.0, 1), (1.0, 2)])
def test_in_budget_mode_the_production_law_buys_what_pays_and_gives_it_back(value: float, most: int) -> None:
    scaler = AndanteScaler(service(budget={"pricePerReplicaHour": 3.0, "valuePerKiloSmoothTokens": value}))
    outcome = run_fleet(surge(), SMALL, scaler, start=1, cluster=QUICK, scheduling=Scheduling())
    assert (outcome.series.spec.max(), outcome.series.spec[-1]) == (most, 1)


def test_a_scheduled_floor_holds_on_the_fleet_s_own_clock() -> None:
    minute = {"name": "first", "start": "0 0 1 1 *", "duration": "1m", "minReplicas": 3}
    outcome = run_fleet(steady(150.0), SMALL, AndanteScaler(service(schedule=[minute])), start=1, cluster=QUICK)
    assert outcome.series.spec.max() == 3


def test_without_a_fitted_step_time_the_production_law_has_no_plan() -> None:
    """vLLM's own scheduling fits none, so no engine tells one; Andante's does from its first step on."""
    stock, ours = (AndanteScaler(service()) for _ in range(2))
    run_fleet(surge(), SMALL, stock, start=1, cluster=QUICK)
    run_fleet(surge(), SMALL, ours, start=1, cluster=QUICK, scheduling=Scheduling())
    assert [decision.curve for _, decision in stock.decisions] == [()] * len(stock.decisions)
    assert any(decision.curve for _, decision in ours.decisions)


def test_without_a_fitted_step_time_the_meter_takes_a_usual_gpu_for_an_idle_replica() -> None:
    """On so slow a GPU (.3 s a token) an idle replica is too slow as well, and only an engine with a fit knows it."""
    slow = SMALL._replace(step_time=StepTime.of(COEFFICIENTS.scaled(30.0)))
    work = requests([0.0, 0.0], [20, 20], [25, 25])
    cluster = replace(SOON, scrape_every=20.0)
    stock, ours, never = (
        run_fleet(work, slow, Static(1), start=1, cluster=cluster, scheduling=how, end=20.0)
        for how in (None, Scheduling(), Scheduling(learns_step_time=False))
    )
    assert stock.mean_qoe == ours.mean_qoe == never.mean_qoe < 0.9
    assert stock.series.deficit[-1] == never.series.deficit[-1] == pytest.approx(0.95 - stock.mean_qoe)
    assert ours.series.deficit[-1] < 0.02


@pytest.mark.parametrize("late", [0.0, 45.0])
def test_the_production_law_gets_the_rules_that_the_operator_makes(
    monkeypatch: pytest.MonkeyPatch, late: float
) -> None:
    shown: list[Snapshot] = []
    decide = judge.decide
    monkeypatch.setattr(judge, "decide", lambda snapshot, *rest: (shown.append(snapshot), decide(snapshot, *rest))[1])
    promised = service(target={"meanQoE": 0.9}, onMetricsMissing="ScaleToFloor")
    cluster = replace(QUICK, scrape_lag=late)
    run_fleet(steady(150.0), SMALL, AndanteScaler(promised, behind=late), start=1, cluster=cluster)
    assert shown[-1].rules == judge.scaling_rules(promised, window=60.0, reach=60.0 + late)
    assert shown[-1].rules.settle == 60.0 + late


def test_a_fleet_is_scored_by_the_promise_that_it_is_scaled_for() -> None:
    strict = service(qoe={"objective": {"qoe": 0.99}})
    with pytest.raises(ValueError, match=r"qoe=0\.99.*got.*qoe=0\.95"):
        run_fleet(steady(30.0), SMALL, AndanteScaler(strict), start=1, cluster=QUICK)
    run_fleet(steady(30.0), SMALL, AndanteScaler(strict), start=1, cluster=QUICK, objective=Objective(qoe=0.99))


def test_batch_requests_need_a_class_of_the_service() -> None:
    work = requests([0.0, 14.0], [20, 20], [25, 900], class_of=[0, 2])
    with pytest.raises(ValueError, match=r"spec\.qoe\.classes"):
        run_fleet(work, SMALL, AndanteScaler(service()), start=1, cluster=QUICK, end=30.0)
    batched = service(qoe={"classes": [{"name": "reading"}, {"name": "batch"}]})
    outcome = run_fleet(work, SMALL, AndanteScaler(batched), start=1, cluster=QUICK, end=30.0)
    assert outcome.changes == ((0.0, 1),)


def test_a_service_that_is_not_scaled_has_no_scaler() -> None:
    with pytest.raises(ValueError, match="mode"):
        AndanteScaler(service(mode="Manual"))
