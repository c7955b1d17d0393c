"""The guard rails that bound a proposal, one behaviour each."""

from __future__ import annotations

from typing import Any

import pytest

from andante.domain.scaling.decide import Decision, decide
from andante.domain.scaling.memory import Memory
from andante.domain.scaling.snapshot import RateLimit, RateLimits
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
    memory = quiet().with_change(now=NOW - 600, before=4)
    assert _wanted(memory, spec=3, open_requests=1.0, down_limits=limits).wanted == 3


@pytest.mark.parametrize(("removed_ago", "wanted"), [(890.0, 3), (910.0, 2)])
def test_a_number_that_was_left_and_reached_again_is_kept_for_a_quarter_of_an_hour(
    removed_ago: float, wanted: int
) -> None:
    memory = quiet().with_change(now=NOW - removed_ago, before=3).with_change(now=NOW - removed_ago + 100, before=2)
    decision = _wanted(memory, spec=3, open_requests=1.0)
    assert decision.wanted == wanted
    assert (decision.decisive.reason == "TurnedLately") == (wanted == 3)


def test_what_was_added_beyond_that_number_may_go() -> None:
    memory = quiet().with_change(now=NOW - 900, before=3).with_change(now=NOW - 600, before=2)
    assert _wanted(memory, spec=6, open_requests=1.0).wanted == 5


def test_removals_in_a_row_are_no_turn() -> None:
    memory = quiet().with_change(now=NOW - 900, before=5).with_change(now=NOW - 600, before=4)
    assert _wanted(memory, spec=3, open_requests=1.0).wanted == 2


def test_only_what_was_reached_again_is_kept() -> None:
    memory = quiet()
    for ago, before in ((900, 8), (800, 7), (700, 2), (600, 5), (500, 4)):
        memory = memory.with_change(now=NOW - ago, before=before)
    assert memory.reached_again(4, since=NOW - 1000) == 5
    assert memory.reached_again(4, since=NOW - 650) == 0


def test_a_turn_holds_nobody_up_who_needs_more() -> None:
    memory = Memory(ready=3).with_change(now=NOW - 300, before=3).with_change(now=NOW - 200, before=2)
    assert _wanted(memory, spec=3, deficit=0.7).wanted > 3
