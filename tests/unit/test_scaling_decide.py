"""The law: what it proposes, and why, in situations that an operator of a service would recognise."""

from __future__ import annotations

import dataclasses

import pytest

from andante.domain.scaling.decide import Decision, decide, known_capacity
from andante.domain.scaling.figures import Missing, NoTraffic, Observed, Stale
from andante.domain.scaling.memory import VERSION, Memory
from andante.domain.scaling.snapshot import Mode, OnMetricsMissing, ScalingRules, Snapshot
from unit.scaling_snapshots import NOW, quiet, snapshot


def _decided(s: Snapshot, memory: Memory | None = None, *, now: float = NOW) -> Decision:
    return decide(s, Memory(ready=s.replicas.ready) if memory is None else memory, now)[0]


def test_a_deficit_buys_at_once_as_much_as_it_says() -> None:
    decision = _decided(snapshot(spec=2, deficit=0.475, target_qoe=0.95))
    assert decision.wanted == 4
    assert decision.decisive.reason == "QoEDeficit"


def test_a_hopeless_deficit_buys_at_most_four_times_what_is_ready() -> None:
    assert _decided(snapshot(spec=2, deficit=0.95, max_replicas=100)).wanted == 8


def test_a_tolerated_deficit_buys_nothing() -> None:
    assert _decided(snapshot(deficit=0.009, tolerated_deficit=0.01)).wanted == 2


def test_a_deficit_must_last_for_the_scale_up_window() -> None:
    s = snapshot(deficit=0.3, scale_up_window=60.0)
    first, memory = decide(s, Memory(ready=2), NOW)
    assert (first.wanted, first.decisive.reason) == (2, "DeficitTooYoung")
    assert _decided(s, memory, now=NOW + 60).wanted > 2


def test_replicas_that_warm_up_are_credited() -> None:
    s = snapshot(spec=4, ready=2, starting_ages=(30.0, 30.0), deficit=0.475, target_qoe=0.95)
    decision = _decided(s)
    assert (decision.wanted, decision.decisive.reason) == (4, "WarmingUp")


def test_a_pending_pod_is_not_counted_on_beyond_its_warmup_bound() -> None:
    young = snapshot(spec=3, ready=2, starting_ages=(500.0,), deficit=0.2, warmup_bound=600.0)
    old = snapshot(spec=3, ready=2, starting_ages=(601.0,), deficit=0.2, warmup_bound=600.0)
    assert _decided(young).decisive.reason == "WarmingUp"
    assert _decided(old).decisive.reason == "QoEDeficit"


def test_a_pod_without_a_node_is_not_answered_with_another_one() -> None:
    s = snapshot(spec=3, ready=2, starting_ages=(900.0,), deficit=0.2, warmup_bound=600.0)
    assert _decided(s).wanted == 3


def test_a_pod_that_has_a_node_and_never_serves_is_replaced_by_another() -> None:
    s = snapshot(spec=3, ready=2, starting_ages=(900.0,), overdue_on_a_node=1, deficit=0.2, warmup_bound=600.0)
    assert _decided(s).wanted == 4


def test_the_spare_pod_of_a_rollout_is_no_credit() -> None:
    s = snapshot(spec=2, ready=2, starting_ages=(10.0,), deficit=0.2)
    assert _decided(s).decisive.reason == "QoEDeficit"


def test_after_a_replica_became_ready_the_old_deficit_is_not_held_against_it() -> None:
    s = snapshot(spec=3, ready=3, deficit=0.3)
    decision, memory = decide(s, Memory(ready=2), NOW)
    assert decision.decisive.reason == "NewReplicaSettling"
    assert _decided(s, memory, now=NOW + s.rules.settle + 1).decisive.reason == "QoEDeficit"


def test_a_replica_is_given_back_after_a_quiet_window_in_which_one_fewer_would_have_sufficed() -> None:
    decision = _decided(snapshot(spec=3, open_requests=5.0), quiet(carried=10.0, peak=8.0))
    assert (decision.wanted, decision.decisive.reason) == (2, "OneFewerSuffices")


def test_a_replica_is_kept_when_the_peak_of_the_window_needs_it() -> None:
    decision = _decided(snapshot(spec=3, open_requests=5.0), quiet(carried=10.0, peak=25.0))
    assert (decision.wanted, decision.decisive.reason) == (3, "OneFewerTooFew")


def test_a_replica_is_kept_until_the_window_has_passed() -> None:
    memory = dataclasses.replace(quiet(), quiet_since=NOW - 299)
    assert _decided(snapshot(spec=3, open_requests=1.0), memory).wanted == 3


def test_the_next_replica_needs_a_quiet_window_of_its_own() -> None:
    s = snapshot(spec=3, open_requests=1.0)
    first, memory = decide(s, quiet(), NOW)
    fewer = snapshot(spec=2, open_requests=1.0)
    second, memory = decide(fewer, memory, NOW + 15)
    third, _ = decide(fewer, memory, NOW + 315)
    assert [first.wanted, second.wanted, third.wanted] == [2, 2, 1]


def test_no_traffic_gives_back_down_to_the_minimum() -> None:
    s = snapshot(spec=2, deficit=NoTraffic(), open_requests=0.0, smooth_goodput=NoTraffic(), throughput=NoTraffic())
    assert _decided(s, quiet()).wanted == 1
    assert _decided(dataclasses.replace(s, rules=dataclasses.replace(s.rules, min_replicas=2)), quiet()).wanted == 2


def test_readers_that_idle_are_seen_in_smooth_goodput_where_the_deficit_is_small() -> None:
    s = snapshot(spec=3, deficit=0.005, open_requests=1.0, smooth_goodput=50.0, throughput=100.0)
    assert _decided(s, quiet()).wanted == 3


def test_the_capacity_that_is_trusted_lies_below_the_load_that_brought_a_deficit() -> None:
    _, memory = decide(snapshot(spec=2, open_requests=20.0, deficit=0.3), Memory(ready=2), NOW)
    assert known_capacity(memory, NOW, rules=ScalingRules()) == pytest.approx(9.0)


def test_the_load_that_brought_a_deficit_is_the_one_before_it_was_measured() -> None:
    _, memory = decide(snapshot(spec=2, open_requests=20.0), Memory(ready=2), NOW)
    _, memory = decide(snapshot(spec=2, open_requests=1.0, deficit=0.3), memory, NOW + 15)
    assert known_capacity(memory, NOW, rules=ScalingRules()) == pytest.approx(9.0)


def test_an_idle_service_has_a_memory_that_does_not_change() -> None:
    s = snapshot(spec=1, deficit=NoTraffic(), open_requests=0.0, smooth_goodput=NoTraffic(), throughput=NoTraffic())
    _, memory = decide(s, Memory(), NOW)
    for tick in range(1, 200):
        _, later = decide(s, memory, NOW + 15 * tick)
        assert later == memory


@pytest.mark.parametrize("figure", [Missing(why="Prometheus is down"), Stale(at=NOW - 600)])
def test_without_metrics_the_replicas_are_held(figure: Missing | Stale) -> None:
    decision = _decided(snapshot(spec=3, deficit=figure, open_requests=figure), quiet())
    assert (decision.wanted, decision.decisive.reason) == (3, "MetricsMissing")


def test_without_metrics_scale_to_floor_goes_up_to_the_minimum() -> None:
    missing = Missing(why="no pod answered")
    rules = {"on_metrics_missing": OnMetricsMissing.SCALE_TO_FLOOR, "min_replicas": 4}
    assert _decided(snapshot(spec=2, deficit=missing, **rules)).wanted == 4
    assert _decided(snapshot(spec=6, deficit=missing, **rules)).wanted == 6


GONE = snapshot(spec=3, deficit=Missing(why="gone"), open_requests=Missing(why="gone"))


def test_a_long_gap_in_the_metrics_starts_the_quiet_window_again() -> None:
    _, memory = decide(GONE, quiet(), NOW)
    assert _decided(snapshot(spec=3, open_requests=1.0), memory, now=NOW + 61).wanted == 3


@pytest.mark.parametrize("gap", [GONE, snapshot(spec=3, open_requests=1.0, pods_measured=1)])
def test_a_short_gap_in_the_metrics_pauses_the_quiet_window(gap: Snapshot) -> None:
    _, memory = decide(gap, dataclasses.replace(quiet(), quiet_since=NOW - 290), NOW)
    seeing = snapshot(spec=3, open_requests=1.0)
    decision, memory = decide(seeing, memory, NOW + 15)
    assert decision.wanted == 3  # 290 s before the gap
    assert _decided(seeing, memory, now=NOW + 26).wanted == 2


def test_metrics_that_come_every_other_tick_take_a_replica_away_at_last() -> None:
    memory, wanted = Memory(carried=30.0, ready=3), 3
    for tick in range(60):
        now = NOW + 15 * tick
        decision, memory = decide(GONE if tick % 2 else snapshot(spec=3, open_requests=1.0), memory, now)
        wanted = min(wanted, decision.wanted)
    assert wanted == 2


def test_the_peak_before_a_gap_still_counts_after_it() -> None:
    memory = dataclasses.replace(quiet(), quiet_since=NOW - 330, peaks=((NOW - 290, 500.0),))
    _, memory = decide(GONE, memory, NOW)
    assert _decided(snapshot(spec=3, open_requests=1.0), memory, now=NOW + 45).wanted == 3


def test_metrics_of_half_the_pods_may_buy_but_not_give_back() -> None:
    assert _decided(snapshot(spec=4, open_requests=1.0, pods_measured=2), quiet()).wanted == 4
    assert _decided(snapshot(spec=4, deficit=0.3, pods_measured=2)).wanted > 4


def test_a_figure_that_is_not_a_number_cannot_be_observed() -> None:
    with pytest.raises(ValueError, match="must be finite"):
        Observed(value=float("nan"), at=NOW)


def test_a_restart_in_the_middle_of_a_scale_up_goes_on_where_it_stopped() -> None:
    s = snapshot(spec=4, ready=2, starting_ages=(20.0, 20.0), deficit=0.475)
    _, memory = decide(s, Memory(ready=2), NOW)
    restarted = Memory.from_state(VERSION, memory.to_state())
    assert decide(s, restarted, NOW + 15) == decide(s, memory, NOW + 15)


def test_a_clock_that_went_back_takes_nothing_away() -> None:
    memory = dataclasses.replace(quiet(), quiet_since=NOW + 5000)
    assert _decided(snapshot(spec=3, open_requests=1.0), memory).wanted == 3


def test_advisory_says_what_it_would_do() -> None:
    decision = _decided(snapshot(spec=2, deficit=0.475, mode=Mode.ADVISORY))
    assert (decision.replicas, decision.wanted) == (2, 4)
    assert decision.steps[-1].reason == "Advisory"
