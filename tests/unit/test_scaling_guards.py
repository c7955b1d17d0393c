"""The guard rails that bound a proposal, one behaviour each."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from andante.domain.scaling.decide import Decision, decide
from andante.domain.scaling.explain import Proposal
from andante.domain.scaling.figures import Missing
from andante.domain.scaling.floors import Floor
from andante.domain.scaling.guards import turned_often
from andante.domain.scaling.memory import VERSION, Memory
from andante.domain.scaling.snapshot import OnMetricsMissing, RateLimit, RateLimits
from unit.scaling_snapshots import NOW, quiet, snapshot


def _wanted(memory: Memory | None = None, **changes: Any) -> Decision:
    s = snapshot(**changes)
    return decide(s, memory or Memory(ready=s.replicas.ready), NOW)[0]


def _pods(count: int, *, period: float = 60.0) -> RateLimit:
    return RateLimit(replicas=count, relative=False, period=period)


def test_max_replicas_bounds_and_says_so() -> None:
    decision = _wanted(spec=2, deficit=0.7, max_replicas=3)
    assert (decision.wanted, decision.decisive.reason) == (3, "MaxReplicas")
    assert "maxReplicas is 3" in decision.decisive.message


def test_a_lowered_maximum_is_followed_even_without_metrics() -> None:
    assert _wanted(spec=6, max_replicas=3).wanted == 3


def test_a_raised_minimum_is_followed_at_once() -> None:
    decision = _wanted(spec=1, min_replicas=4)
    assert (decision.wanted, decision.decisive.reason) == (4, "MinReplicas")


def _scheduled(replicas: int, *, start: float = NOW - 60, end: float = NOW + 60, name: str = "surge") -> Floor:
    return Floor(name=name, start=start, end=end, replicas=replicas)


def test_a_scheduled_floor_is_followed_at_once_whatever_a_rate_limit_says() -> None:
    limits = RateLimits(limits=(_pods(1),))
    decision = _wanted(spec=1, floors=(_scheduled(4),), up_limits=limits)
    assert (decision.wanted, decision.decisive.reason) == (4, "ScheduledFloor")
    assert "scaling.schedule[surge]" in decision.decisive.message


def test_of_several_floors_the_highest_counts() -> None:
    decision = _wanted(spec=1, floors=(_scheduled(3, name="low"), _scheduled(5, name="high"), _scheduled(4)))
    assert decision.wanted == 5
    assert "scaling.schedule[high]" in decision.decisive.message


def test_a_floor_never_goes_above_max_replicas_and_says_what_stops_it() -> None:
    decision = _wanted(spec=1, floors=(_scheduled(8),), max_replicas=3)
    assert (decision.wanted, decision.decisive.reason) == (3, "ScheduledFloor")
    assert "scaling.maxReplicas is 3" in decision.decisive.message


def test_a_floor_below_min_replicas_is_not_the_reason() -> None:
    assert _wanted(spec=1, floors=(_scheduled(2),), min_replicas=4).decisive.reason == "MinReplicas"


def test_a_floor_holds_one_warm_up_before_its_start_and_not_after_its_end() -> None:
    early = Floor(name="surge", start=NOW + 120, end=NOW + 300, replicas=4)
    for now, wanted in ((NOW - 1, 1), (NOW, 4), (NOW + 299, 4), (NOW + 300, 1)):
        decision, _ = decide(snapshot(spec=1, floors=(early,), at=now), Memory(ready=1), now)
        assert decision.wanted == wanted


def test_after_its_end_replicas_go_one_at_a_time() -> None:
    over = _scheduled(4, end=NOW)
    decision = _wanted(quiet(carried=10.0, peak=8.0), spec=4, open_requests=4.0, floors=(over,))
    assert (decision.wanted, decision.decisive.reason) == (3, "OneFewerSuffices")


@pytest.mark.parametrize("on_missing", list(OnMetricsMissing))
def test_a_floor_holds_without_metrics(on_missing: OnMetricsMissing) -> None:
    blind = Missing(why="Prometheus is down")
    decision = _wanted(spec=1, deficit=blind, floors=(_scheduled(4),), on_metrics_missing=on_missing)
    assert decision.wanted == 4


def test_a_floor_holds_what_it_asks_for_against_a_removal() -> None:
    decision = _wanted(quiet(carried=10.0, peak=8.0), spec=4, open_requests=4.0, floors=(_scheduled(4),))
    assert (decision.wanted, decision.decisive.reason) == (4, "ScheduledFloor")


def test_nothing_is_given_back_while_a_replica_warms_up() -> None:
    decision = _wanted(quiet(), spec=4, ready=3, starting_ages=(10.0,), open_requests=1.0)
    assert (decision.wanted, decision.decisive.reason) == (4, "WarmingUp")


def test_replicas_that_somebody_else_sets_are_left_to_him_by_name() -> None:
    decision = _wanted(spec=2, deficit=0.7, foreign_owner="kubectl-edit")
    assert (decision.wanted, decision.decisive.reason) == (2, "ForeignOwner")
    assert "kubectl-edit" in decision.decisive.message


def test_a_rate_limit_lets_only_so_many_come_within_its_period() -> None:
    limits = RateLimits(limits=(_pods(1),))
    s = snapshot(spec=2, deficit=0.7, up_limits=limits)
    first, memory = decide(s, Memory(ready=2), NOW)
    again, _ = decide(snapshot(spec=3, ready=2, deficit=0.7, up_limits=limits), memory, NOW + 30)
    later, _ = decide(snapshot(spec=3, ready=2, deficit=0.7, up_limits=limits), memory, NOW + 61)
    assert [first.wanted, again.wanted, later.wanted] == [3, 3, 4]
    assert first.decisive.reason == "RateLimited"


def test_a_percentage_counts_from_the_period_s_start_and_is_rounded_up() -> None:
    limits = RateLimits(limits=(RateLimit(replicas=0.5, relative=True, period=60.0),))
    assert _wanted(spec=3, deficit=0.7, up_limits=limits).wanted == 5


@pytest.mark.parametrize(("strictest", "wanted"), [(False, 6), (True, 3)])
def test_of_several_limits_the_loosest_or_the_strictest_counts(strictest: bool, wanted: int) -> None:
    limits = RateLimits(limits=(_pods(1), _pods(4)), strictest=strictest)
    assert _wanted(spec=2, deficit=0.7, up_limits=limits).wanted == wanted


def test_a_disabled_direction_does_not_move() -> None:
    off = RateLimits(disabled=True)
    assert _wanted(spec=2, deficit=0.7, up_limits=off).wanted == 2
    assert _wanted(quiet(), spec=3, open_requests=1.0, down_limits=off).wanted == 3


def test_scale_down_has_its_own_limit() -> None:
    limits = RateLimits(limits=(_pods(1, period=900.0),))
    memory = quiet().with_change(now=NOW - 600, before=4, after=3)
    assert _wanted(memory, spec=3, open_requests=1.0, down_limits=limits).wanted == 3


def _changed(memory: Memory, *changes: tuple[float, int, int]) -> Memory:
    """`changes`: (seconds ago, replicas before, replicas after)."""
    for ago, before, after in changes:
        memory = memory.with_change(now=NOW - ago, before=before, after=after)
    return memory


@pytest.mark.parametrize(("removed_ago", "wanted"), [(890.0, 3), (910.0, 2)])
def test_a_number_that_was_left_and_reached_again_is_kept_for_a_quarter_of_an_hour(
    removed_ago: float, wanted: int
) -> None:
    memory = _changed(quiet(), (removed_ago, 3, 2), (removed_ago - 100, 2, 3))
    decision = _wanted(memory, spec=3, open_requests=1.0)
    assert decision.wanted == wanted
    assert (decision.decisive.reason == "TurnedLately") == (wanted == 3)


def test_what_was_added_beyond_that_number_may_go() -> None:
    memory = _changed(quiet(), (900, 3, 2), (600, 2, 6))
    assert _wanted(memory, spec=6, open_requests=1.0).wanted == 5


def test_removals_in_a_row_are_no_turn() -> None:
    memory = _changed(quiet(), (900, 5, 4), (600, 4, 3))
    assert _wanted(memory, spec=3, open_requests=1.0).wanted == 2


def test_only_what_was_reached_again_is_kept() -> None:
    memory = _changed(quiet(), (900, 8, 7), (800, 7, 2), (700, 2, 5), (600, 5, 4), (500, 4, 4))
    assert memory.reached_again(4, since=NOW - 1000) == 5
    assert memory.reached_again(4, since=NOW - 650) == 0


def test_a_turn_holds_nobody_up_who_needs_more() -> None:
    memory = _changed(Memory(ready=3), (300, 3, 2), (200, 2, 3))
    assert _wanted(memory, spec=3, deficit=0.7).wanted > 3


UP_AND_DOWN = ((3500.0, 6, 5), (3000.0, 5, 6), (2400.0, 6, 5), (1800.0, 5, 6))
"""Three direction changes within the hour."""


def test_no_removal_begins_that_would_be_one_turn_too_many() -> None:
    decision = _wanted(_changed(quiet(), *UP_AND_DOWN), spec=6, open_requests=1.0)
    assert (decision.wanted, decision.decisive.reason) == (6, "TurnedLately")


def test_turns_are_forgotten_after_an_hour() -> None:
    earlier = tuple((ago + 700, before, after) for ago, before, after in UP_AND_DOWN)
    assert _wanted(_changed(quiet(), *earlier), spec=6, open_requests=1.0).wanted == 5


def test_removals_go_on_that_have_begun() -> None:
    memory = _changed(quiet(), *UP_AND_DOWN, (60.0, 6, 5))
    assert _wanted(memory, spec=5, open_requests=1.0).wanted == 4


@pytest.mark.parametrize(("needed", "goes"), [(4, False), (3, False), (2, True)])
def test_more_than_half_too_many_goes_all_the_same(needed: int, goes: bool) -> None:
    memory = _changed(quiet(), *UP_AND_DOWN)
    plan = dataclasses.replace(memory.plan, wants=((NOW - 30, float(needed)),))
    fewer = Proposal(replicas=5, reason="OneFewerSuffices", message="")
    held = turned_often(fewer, snapshot(spec=6), dataclasses.replace(memory, plan=plan), NOW)
    assert (held is None) == goes


def test_turns_survive_a_restart() -> None:
    memory = _changed(quiet(), *UP_AND_DOWN)
    again = Memory.from_state(VERSION, memory.to_state())
    assert again.runs == memory.runs
    assert again.turns(since=NOW - 3600) == 3
