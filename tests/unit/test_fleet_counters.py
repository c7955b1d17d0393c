"""What the engines of a fleet count: as processes that begin at 0 count what comes to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from andante.sim.fleet import meter as metered
from andante.sim.fleet.meter import Scrape
from andante.sim.fleet.run import run_fleet
from andante.sim.fleet.scaler import Sight
from andante.sim.fleet.settings import Cluster, Fault, FaultKind
from andante.sim.requests import Requests
from unit.sim_workloads import requests
from unit.test_fleet_life import ROOMY, SOON

CRASH = replace(SOON, faults=(Fault(at=2.0, pod=0, kind=FaultKind.CRASH),))


@dataclass
class Watching:
    """Keeps the scrapes, and changes nothing."""

    period: float = 1.0
    scrapes: dict[float, Scrape] = field(default_factory=dict)

    def wanted(self, sight: Sight) -> int:
        self.scrapes.update((scrape.at, scrape) for scrape in sight.scrapes)
        return sight.spec


def scraped(work: Requests, cluster: Cluster, *, start: int) -> Mapping[float, Scrape]:
    watching = Watching()
    run_fleet(work, ROOMY, watching, start=start, cluster=cluster, end=20.0)
    return watching.scrapes


def test_what_a_crashed_engine_counted_since_the_scrape_is_gone_with_it() -> None:
    """Its answer ended before the crash, so no request is lost with it."""
    done = requests([0.5, 9.0], [20, 30], [10, 10])
    found = scraped(done, replace(CRASH, scrape_every=8.0), start=1)
    assert (found[8.0].counter(0, metered.ARRIVED), found[8.0].counter(0, metered.OVER)) == (0.0, 0.0)
    assert (found[16.0].counter(0, metered.ARRIVED), found[16.0].counter(0, metered.PROMPT)) == (1.0, 30.0)
    assert found[16.0].totals[metered.ARRIVED] == 2.0


def test_a_crash_takes_the_counters_and_the_readers_of_one_engine() -> None:
    long = requests([0.0, 1.0], [20, 20], [300, 300])
    found = scraped(long, CRASH, start=2)
    assert 0 not in found[3.0].pods
    assert found[8.0].gauge(0, metered.OPEN) == found[8.0].counter(0, metered.LOST) == 0.0
    assert found[3.0].totals[metered.LOST] > 0.9
    assert found[8.0].counter(1, metered.TOKENS) == 300.0


def test_who_comes_again_is_one_more_arrival_at_the_engine_that_serves() -> None:
    long = requests([0.0, 1.0], [20, 30], [300, 300])
    found = scraped(long, replace(CRASH, retries=True), start=2)
    assert (found[2.0].counter(1, metered.ARRIVED), found[2.0].counter(1, metered.PROMPT)) == (1.0, 30.0)
    assert (found[4.0].counter(1, metered.ARRIVED), found[4.0].counter(1, metered.PROMPT)) == (2.0, 50.0)
    assert found[4.0].totals[metered.ARRIVED] == 3.0


def test_an_attempt_that_no_engine_served_is_in_no_engines_counters() -> None:
    """The second attempt comes while the only replica warms up, which had served the first one."""
    found = scraped(requests([0.5], [20], [300]), replace(CRASH, retries=True), start=1)
    assert found[8.0].totals[metered.OVER] == 2.0
    assert (found[8.0].counter(0, metered.OVER), found[8.0].counter(0, metered.LOST)) == (0.0, 0.0)
