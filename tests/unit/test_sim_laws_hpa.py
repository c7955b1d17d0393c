"""The HorizontalPodAutoscaler's algorithm and KEDA on top of it, by examples worked out by hand, and its properties."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andante.sim.fleet.seen import PodSeen
from andante.sim.laws.hpa import Actuator, average_of_pods, average_of_total, most_of, value_of_all
from andante.sim.laws.hpa_metrics import WaitingRequests
from andante.sim.laws.keda import Activation, trigger_value
from unit.sim_seen import pod, pods, seen, starting


def _kv(values: list[float | None], *, current: int, pending: int = 0) -> int | None:
    these = [pod(f"p{i}", kv_use=v) for i, v in enumerate(values)]
    these += [starting(f"q{i}", pending=True) for i in range(pending)]
    return average_of_pods(these, lambda p: p.kv_use, target=0.5, current=current)


def test_the_mean_over_the_target_multiplies_the_ready_pods() -> None:
    assert _kv([0.9, 0.7], current=2) == 4  # 1.6 * 2 = 3.2


@pytest.mark.parametrize("value", [0.46, 0.5, 0.54])
def test_a_ratio_within_the_tolerance_changes_nothing(value: float) -> None:
    assert _kv([value, value], current=7) == 7


def test_a_pod_without_metrics_counts_with_nothing_on_the_way_up() -> None:
    assert _kv([1.0, 1.0, None], current=3) == 4  # (1 + 1 + 0) / 3 / .5 = 1.33; 1.33 * 3 = 4


def test_a_pod_without_metrics_counts_with_the_target_on_the_way_down() -> None:
    assert _kv([0.1, 0.1, None], current=3) == 2  # (.1 + .1 + .5) / 3 / .5 = .467; .467 * 3 = 1.4


def test_a_pod_without_metrics_never_turns_the_direction() -> None:
    assert _kv([0.7, None, None], current=3) == 3  # 1.4 with the one pod, .47 with all three


def test_pending_pods_hold_back_a_scale_up_and_do_not_count_in_a_scale_down() -> None:
    assert _kv([1.0, 1.0], current=4, pending=2) == 4  # 2.0 alone; 1.0 with both
    assert _kv([0.2, 0.2], current=4, pending=2) == 1  # .4 * 2 = .8


def test_no_pod_with_metrics_is_a_failure() -> None:
    assert _kv([None, None], current=2) is None


def test_a_value_is_compared_with_the_target_as_a_whole() -> None:
    assert value_of_all(3.0, target=1.0, current=4, ready=4) == 12
    assert value_of_all(1.05, target=1.0, current=4, ready=3) == 4
    assert value_of_all(math.nan, target=1.0, current=4, ready=4) is None


def test_an_average_of_a_total_divides_it_by_the_target() -> None:
    assert average_of_total(26.0, target=5.0, pods=2) == 6
    assert average_of_total(10.5, target=5.0, pods=2) == 2  # 5 % above
    assert average_of_total(None, target=5.0, pods=2) is None


def test_one_failed_metric_forbids_only_a_scale_down() -> None:
    assert most_of([None, 7], current=5) == 7
    assert most_of([None, 3], current=5) is None
    assert most_of([2, 3], current=5) == 3


def test_growth_is_at_most_double_or_four_pods_in_fifteen_seconds() -> None:
    one = Actuator(min_replicas=1, max_replicas=100)
    assert one.apply(50, current=2, now=0.0) == 6
    assert one.apply(50, current=6, now=5.0) == 6  # the same 15 s: 2 + 4
    assert one.apply(50, current=6, now=15.0) == 12


def test_a_scale_down_waits_for_the_largest_recommendation_of_five_minutes() -> None:
    one = Actuator(min_replicas=1, max_replicas=100)
    assert one.apply(8, current=8, now=0.0) == 8
    assert one.apply(2, current=8, now=299.0) == 8
    assert one.apply(2, current=8, now=300.0) == 2


def test_the_first_recommendation_is_the_present_number() -> None:
    one = Actuator(min_replicas=1, max_replicas=100)
    assert [one.apply(1, current=8, now=t) for t in (0.0, 285.0, 300.0)] == [8, 8, 1]


def test_failed_metrics_change_nothing_within_the_bounds() -> None:
    one = Actuator(min_replicas=2, max_replicas=6)
    assert one.apply(None, current=4, now=0.0) == 4
    assert one.apply(None, current=1, now=15.0) == 2
    assert one.apply(None, current=9, now=30.0) == 6


@given(
    st.lists(st.tuples(st.floats(1, 60), st.none() | st.integers(0, 80)), min_size=1, max_size=40), st.integers(1, 30)
)
@settings(max_examples=60, deadline=None)
def test_every_change_keeps_the_bounds_and_the_rates(steps: list[tuple[float, int | None]], first: int) -> None:
    one, now, current = Actuator(min_replicas=1, max_replicas=30), 0.0, first
    for wait, desired in steps:
        now += wait
        after = one.apply(desired, current=current, now=now)
        assert 1 <= after <= 30
        assert after <= max(2 * current, current + 4)
        if desired is None or desired == current:
            assert after >= current
        current = after


values = st.lists(st.none() | st.floats(0, 1), min_size=1, max_size=6)


@given(values, st.data())
@settings(max_examples=100, deadline=None)
def test_more_use_of_one_pod_never_asks_for_fewer_replicas(loads: list[float | None], data: st.DataObject) -> None:
    which = data.draw(st.integers(0, len(loads) - 1))
    if loads[which] is None:
        return
    more: list[float | None] = [*loads]
    more[which] = data.draw(st.floats(loads[which] or 0.0, 1))
    # The rule about missing pods is not monotone when the ratio of the measured pods crosses 1.
    if None in loads:
        return
    before, after = _kv(loads, current=len(loads)), _kv(more, current=len(loads))
    assert before is not None
    assert after is not None
    assert after >= before


@given(st.floats(0, 1e4), st.floats(0, 1e4), st.floats(0.1, 50), st.integers(1, 50))
def test_a_larger_total_never_asks_for_fewer_replicas(one: float, other: float, target: float, count: int) -> None:
    low, high = sorted((one, other))
    few = average_of_total(low, target=target, pods=count)
    many = average_of_total(high, target=target, pods=count)
    assert few is not None
    assert many is not None
    assert few <= many


def test_an_empty_answer_is_zero_to_keda_and_an_error_is_not() -> None:
    assert trigger_value(None, source_down=False) == 0.0
    assert trigger_value(math.nan, source_down=False) == 0.0
    assert trigger_value(3.0, source_down=True) is None


def test_keda_goes_to_zero_after_the_cooldown_and_back_at_the_next_poll() -> None:
    one = Activation(polling=30.0, cooldown=300.0)
    assert one.replicas([0.0], spec=2, now=0.0) is None
    assert one.replicas([0.0], spec=2, now=300.0) is None
    assert one.replicas([0.0], spec=2, now=330.0) == 0
    assert one.replicas([4.0], spec=0, now=345.0) == 0  # not polled yet
    assert one.replicas([4.0], spec=0, now=360.0) == 1


def test_keda_does_not_go_to_zero_on_an_error() -> None:
    one = Activation(polling=30.0, cooldown=60.0)
    assert one.replicas([0.0], spec=2, now=0.0) is None
    assert one.replicas([None], spec=2, now=600.0) is None


def test_a_law_without_requests_ends_at_zero_where_zero_is_allowed() -> None:
    law = WaitingRequests(min_replicas=0, max_replicas=8)
    spec, now = 1, 0.0
    these: tuple[PodSeen, ...] = pods(1)
    for _ in range(30):
        spec = law.wanted(seen(now, these, spec=spec))
        these, now = pods(spec), now + 15.0
    assert spec == 0
