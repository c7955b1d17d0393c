"""What the scaler does in situations that were reported by people who run such services, each with its reason."""

from __future__ import annotations

import pytest

from andante.domain.scaling.decide import decide
from andante.domain.scaling.memory import Memory
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
