"""What a fleet shows to laws and to the production scaler, and that these scale it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from andante.domain.scaling.snapshot import ScalingRules
from andante.sim.fleet.andante_scaler import AndanteScaler
from andante.sim.fleet.law_scaler import LawScaler
from andante.sim.fleet.run import run_fleet
from andante.sim.fleet.seen import Seen
from andante.sim.fleet.settings import Cluster, WarmUp
from unit.sim_workloads import engine, requests
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


def test_the_production_law_buys_when_readers_wait_and_gives_back_when_they_do_not() -> None:
    """Two sequences at a time carry about 7 such answers a second: 12 a second for two minutes are too many for one."""
    random = np.random.default_rng(3)
    gaps = random.exponential(1.0, 2_400)
    busy = np.cumsum(gaps[:1_440]) / 12.0
    calm = busy[-1] + np.cumsum(gaps[1_440:])
    times = np.concatenate((busy, calm)).tolist()
    work = requests(times, [20] * len(times), [25] * len(times), patience=20.0)
    scaler = AndanteScaler(ScalingRules(min_replicas=1, max_replicas=6, scale_down_window=120.0))
    cluster = Cluster(warmup=WarmUp(median=15.0), scrape_lag=0.0)
    outcome = run_fleet(work, SMALL, scaler, start=1, cluster=cluster)
    first, last = scaler.decisions[0], scaler.decisions[-1]
    assert first[0] < 60.0
    assert first[1].replicas > 1
    assert last[1].replicas == outcome.series.spec[-1] == 1
    assert outcome.series.deficit.max() > 0.1
    assert outcome.good[-500:].all()
    assert outcome.cut == 0
