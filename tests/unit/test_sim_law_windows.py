"""Counters that a law sees later than they were scraped: traffic is what came between the scrapes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from andante.sim.fleet.seen import Totals
from andante.sim.laws.dynamo_throughput import DynamoThroughput
from andante.sim.laws.windows import Counters, between, scraped
from unit.sim_seen import pods, seen, traffic

EVERY, LAG = 15.0, 15.0


def shown(now: float, *, rate: float) -> Totals | None:
    """The newest counters of a steady rate that can be seen at `now`."""
    at = math.floor((now - LAG) / EVERY) * EVERY
    return replace(traffic(rate * at), at=at) if at >= 0 else None


def test_the_time_of_traffic_is_the_time_between_the_scrapes() -> None:
    one, other = (scraped(now, shown(now, rate=2.0) or Totals()) for now in (37.0, 74.0))
    assert (one[0], other[0]) == (15.0, 45.0)
    assert between(one, other).per_second == 2.0


def test_counters_that_do_not_say_when_are_of_the_moment() -> None:
    assert scraped(7.0, Totals())[0] == 7.0


@pytest.mark.parametrize("period", [2.0, 5.0, 15.0, 37.0])
def test_a_window_of_a_steady_rate_has_that_rate(period: float) -> None:
    counters = Counters(60.0)
    rates = set()
    for tick in range(100):
        counters.add(tick * period, shown(tick * period, rate=3.0))
        found = counters.traffic()
        rates |= set() if found is None else {found.per_second, *(step.per_second for step in counters.steps())}
    assert rates == {3.0}


def test_counters_that_are_seen_again_are_no_sample() -> None:
    counters = Counters(60.0)
    for now in (15.0, 20.0, 25.0, 30.0):
        counters.add(now, shown(now, rate=1.0))
    assert [at for at, _ in counters.samples] == [0.0, 15.0]


@pytest.mark.parametrize("interval", [20.0, 37.0, 80.0])
def test_a_steady_rate_is_planned_for_alike_in_every_interval(interval: float) -> None:
    law = DynamoThroughput(min_replicas=1, max_replicas=500, interval=interval, ttft=5.0, itl=0.2)
    planned = []
    for tick in range(200):
        now = 5.0 * tick
        wanted = law.wanted(seen(now, pods(1), spec=0, totals=shown(now, rate=200.0)))
        planned += [wanted] if wanted > 1 else []
    assert len(planned) >= 5
    assert len(set(planned)) == 1
    assert planned[0] > 5
