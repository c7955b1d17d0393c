"""What the scaler does in situations that were reported by people who run such services, each with its reason."""

from __future__ import annotations

import numpy as np
import pytest

from andante.domain.scaling.decide import decide
from andante.domain.scaling.figures import Observed
from andante.domain.scaling.memory import Memory
from andante.domain.scaling.snapshot import RateLimit, RateLimits
from unit.scaling_plant import PER_REPLICA, TICK, Plant
from unit.scaling_snapshots import NOW, snapshot


def _constant(replicas: float) -> Plant:
    return Plant(arrivals=lambda _: replicas * PER_REPLICA)


def test_a_cold_surge_is_answered_within_one_warm_up() -> None:
    plant = Plant(arrivals=lambda t: PER_REPLICA * (0.3 if t < 900 else 18.0)).run(900 + 8 * TICK)
    assert max(plant.sizes) >= 18
    assert plant.sizes[60 + 3] >= 18  # three ticks after the surge began


def test_a_constant_load_does_not_turn() -> None:
    plant = _constant(3.4).run(4 * 3600)
    assert len(set(plant.sizes[120:])) == 1
    assert plant.sizes[-1] <= 5


@pytest.mark.parametrize("told", [True, False])
def test_readiness_that_flaps_does_not_stop_growth(told: bool) -> None:
    plant = Plant(arrivals=lambda _: 6 * PER_REPLICA, replicas=2, flapping=True, told=told).run(1800)
    assert plant.sizes[-1] >= 6


@pytest.mark.parametrize("told", [True, False])
def test_connections_that_stay_with_old_pods_buy_little_and_are_named(told: bool) -> None:
    plant = Plant(arrivals=lambda _: 1.6 * PER_REPLICA, spreads=False, told=told).run(3600)
    assert max(plant.sizes) <= 4
    assert {"LoadDoesNotSpread", "ReplicasDoNotHelp"} & set(plant.reasons)


@pytest.mark.parametrize("told", [True, False])
def test_a_hung_engine_is_not_answered_with_replicas_for_ever(told: bool) -> None:
    plant = Plant(arrivals=lambda _: 1.5 * PER_REPLICA, replicas=3, told=told).run(900)
    plant.pods[0].hung = True
    plant.run(3600)
    assert max(plant.sizes) <= 16
    assert "ReplicasDoNotHelp" in plant.reasons


def test_engines_that_all_hang_buy_nothing() -> None:
    plant = Plant(arrivals=lambda _: 0.5 * PER_REPLICA, told=False).run(900)
    plant.hangs = True
    plant.run(1800)
    assert plant.reasons[-1] == "ReplicaHangs"
    assert max(plant.sizes) <= 4


@pytest.mark.parametrize("told", [True, False])
def test_replicas_that_never_start_are_not_bought_again_and_again(told: bool) -> None:
    plant = Plant(arrivals=lambda _: 1.8 * PER_REPLICA, starts=False, told=told).run(2 * 3600)
    assert max(plant.sizes) <= 6
    assert "ReplicasDoNotStart" in plant.reasons


def test_a_restart_with_the_stored_memory_changes_nothing() -> None:
    def surge(t: float) -> float:
        return (1.5 if t < 1200 or t > 2400 else 5.0) * PER_REPLICA

    one = Plant(arrivals=surge).run(3600)
    other = Plant(arrivals=surge, restarts_at=tuple(range(0, 240, 7))).run(3600)
    assert one.sizes == other.sizes


def test_a_gap_in_the_metrics_takes_no_replica_away() -> None:
    plant = Plant(arrivals=lambda _: 3.4 * PER_REPLICA, replicas=6, unseen=tuple(range(10, 100))).run(1500)
    during = plant.sizes[9:100]
    assert during == sorted(during)
    assert plant.sizes[98] == plant.sizes[8]


def test_one_late_request_in_a_quiet_minute_buys_no_replica() -> None:
    s = snapshot(spec=1, deficit=0.18, open_requests=2.0, arrivals=0.05)
    memory = Memory(ready=1, deficit_since=NOW - 600)
    for tick in range(20):
        decision, memory = decide(s, memory, NOW + TICK * tick)
        assert decision.wanted == 1
        assert decision.decisive.reason in ("LittleEvidence", "TargetMet")


def test_users_who_wait_for_their_answers_before_they_ask_again_get_replicas_too() -> None:
    """A closed loop: no more requests arrive than the present replicas serve, and each waits for half a minute."""
    memory, wanted = Memory(ready=1), 1
    for tick in range(60):
        rate = Observed(value=0.95 * PER_REPLICA, at=NOW + TICK * tick)
        s = snapshot(spec=1, deficit=0.5, loss=0.5, open_requests=800.0, arrivals=rate, waiting=500.0)
        decision, memory = decide(s, memory, NOW + TICK * tick)
        wanted = max(wanted, decision.wanted)
    assert wanted == 2


def test_a_quick_replica_is_bought_and_given_back_within_a_short_surge() -> None:
    rules = {"max_replicas": 3, "scale_down_window": 60.0, "forecast_window": 60.0, "plan_window": 60.0}
    plant = Plant(arrivals=lambda t: PER_REPLICA * (2.4 if 300 < t <= 540 else 0.5), warmup=10, rules=rules)
    plant.run(900)
    assert plant.sizes[23] == 3  # 45 s after the surge began
    assert plant.sizes[-1] == 1
    assert plant.turns == 1


def test_one_replica_fewer_is_not_tried_again_while_that_would_spend_the_budget() -> None:
    plant = Plant(arrivals=lambda _: 2.6 * PER_REPLICA, replicas=3, warmup=600, told=False)
    plant.run(10 * 3600)
    assert sum(lost for _, lost in plant.late[:240]) > 0  # one trial, before anything was known of a replica
    assert sum(lost for _, lost in plant.late[480:]) == 0


def test_one_unreadable_pod_does_not_forbid_growth_with_a_scale_up_window() -> None:
    memory = Memory(ready=3)
    for tick in range(6):
        s = snapshot(spec=3, deficit=0.3, open_requests=90.0, pods_measured=2, scale_up_window=60.0)
        decision, memory = decide(s, memory, NOW + TICK * tick)
    assert decision.wanted > 3


def test_a_rate_limit_counts_every_change_of_its_period() -> None:
    """One replica at a time, as often as a tick comes, and no more than 100 in half an hour."""
    each_tick = RateLimit(replicas=1, relative=False, period=TICK)
    in_all = RateLimit(replicas=100, relative=False, period=1800.0)
    limits = RateLimits(limits=(each_tick, in_all), strictest=True)
    memory, spec, sizes = Memory(ready=1), 1, []
    for tick in range(130):
        now = NOW + TICK * tick
        s = snapshot(spec=spec, arrivals=300 * PER_REPLICA, at=now, max_replicas=500, up_limits=limits)
        decision, memory = decide(s, memory, now)
        spec = decision.replicas
        sizes.append(spec)
    assert sizes[:100] == list(range(2, 102))
    assert set(sizes[100:120]) == {101}
    assert sizes[-1] > 101  # the first changes are half an hour ago


@pytest.mark.parametrize("told", [True, False])
def test_noise_turns_the_replicas_seldom(told: bool) -> None:
    rng = np.random.default_rng(7)
    plant = Plant(arrivals=lambda _: rng.normal(3.0, 0.45) * PER_REPLICA, replicas=4, told=told).run(2 * 3600)
    assert plant.turns <= 4  # two an hour


def test_no_replica_goes_while_readers_are_late_however_low_the_plan_is() -> None:
    """The engines tell a step time that is better than what readers get: the plan sees no need of three replicas."""
    memory = Memory()
    for tick in range(60):
        now = NOW + tick * TICK
        seen = snapshot(spec=3, deficit=0.05, arrivals=0.4 * PER_REPLICA, at=now)
        decision, memory = decide(seen, memory, now)
        assert decision.replicas >= 3


@pytest.mark.parametrize("warmup", [10.0, 100.0, 300.0])
@pytest.mark.parametrize(("truth", "enough"), [(0.6, 5), (0.75, 4), (0.9, 3)])
def test_engines_that_serve_less_than_they_tell_are_found_out(truth: float, enough: int, warmup: float) -> None:
    plant = Plant(arrivals=lambda _: 2.4 * PER_REPLICA, truth=truth, warmup=warmup).run(2 * 3600)
    assert plant.turns <= 1
    assert plant.sizes[-1] == enough
    assert sum(lost for _, lost in plant.late[240:]) == 0
