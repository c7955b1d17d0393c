"""What readers got by the time at which they came, and whether a replica was ready in time for them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hack.demo.slices import Arrived, by_arrival, in_time

from unit.demo_sides import FIRST, LATE, SECOND, SURGE, result


def test_readers_are_sliced_by_their_arrival_not_their_end() -> None:
    slices = by_arrival([result(0, arrival=9.0), result(1, LATE, arrival=9.9), result(2, arrival=31.0)])
    assert [(s.since, s.readers) for s in slices] == [(0.0, 2), (30.0, 1)]
    assert slices[0].mean_qoe < slices[1].mean_qoe == 1.0


def _slices(*since_below: float) -> list[Arrived]:
    at = (40.0, 60.0, 80.0, 100.0)
    return [Arrived(since=t, readers=1, mean_qoe=0.5 if t in since_below else 1.0) for t in at]


def test_a_replica_in_time_is_ready_before_the_target_was_missed_for_a_warm_up() -> None:
    """SECOND was bought at second 60 and served at 100: readers were below from 80 on, for 20 s of its 40."""
    found = in_time(_slices(80.0, 100.0), [FIRST, SECOND], surge=SURGE, target=0.95)
    assert (found.below_since, found.first_ready, found.warm_up) == (80.0, 100.0, 40.0)
    assert found.kept


@pytest.mark.parametrize("ready", [121.0, None])
def test_a_replica_that_was_bought_later_is_not_in_time(ready: float | None) -> None:
    bought = replace(SECOND, created=81.0, ready=ready)
    assert not in_time(_slices(80.0), [FIRST, bought], surge=SURGE, target=0.95).kept


def test_nothing_has_to_be_bought_where_readers_miss_nothing() -> None:
    found = in_time(_slices(40.0), [FIRST], surge=SURGE, target=0.95)  # before the surge
    assert found.below_since is None
    assert found.kept
