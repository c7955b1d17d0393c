"""Budget mode: as many replicas as earn more than they cost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from andante.api.v1alpha1 import LLMService
from andante.app.scaling.judge import scaling_rules
from andante.domain.scaling.decide import Decision, decide
from andante.domain.scaling.earnings import Earnings, enough_for
from andante.domain.scaling.figures import Figure, Missing
from andante.domain.scaling.memory import VERSION, Memory
from andante.domain.scaling.prices import Prices
from andante.domain.scaling.replay import MOST_MORE, Readers, Replay
from unit.scaling_plant import PER_REPLICA, Plant
from unit.scaling_snapshots import NOW, snapshot

FULL = 200 * PER_REPLICA
"""Tokens/s of a full replica of the plant."""
READERS = Readers(seconds=20.0, count_good=False)

errors = st.lists(st.floats(-1, 8), max_size=60)
money = st.floats(0, 100)


def _prices(*, earns: float, price: float = 3.0) -> Prices:
    """With which a full replica of the plant earns `earns` times its price."""
    return Prices(replica=price, tokens=earns * price / (3.6 * FULL))


def _earnings(
    found: list[float], *, demand: float, value: float, price: float, capacity: float = 0.84, longest: int = 0
) -> Earnings:
    """`value`: of one replica's worth of work, per hour; `longest`: slots of an episode that is left out."""
    replay = Replay(found, forecast=demand, longest_episode=longest)
    prices = Prices(replica=price, tokens=value / 3.6)
    return Earnings(replay, READERS, demand=demand, capacity=capacity, tokens=1.0, prices=prices)


@given(errors, st.floats(0, 30), money, st.floats(0.01, 100))
def test_the_choice_is_the_best_of_all_numbers(found: list[float], demand: float, value: float, price: float) -> None:
    earnings = _earnings(found, demand=demand, value=value, price=price)
    best = earnings.best()
    anew = _earnings(found, demand=demand, value=value, price=price)
    most = max(anew.profit(n) for n in range(1, enough_for(demand, 0.84) + MOST_MORE + 1))
    assert anew.profit(best) == pytest.approx(most, abs=1e-6)


@given(errors, st.floats(0, 30), money, money, money)
def test_more_value_never_means_fewer_replicas(
    found: list[float], demand: float, one: float, two: float, price: float
) -> None:
    low, high = (_earnings(found, demand=demand, value=value, price=price).best() for value in sorted((one, two)))
    assert high >= low


@given(errors, st.floats(0, 30), money, money, money)
def test_a_higher_price_never_means_more_replicas(
    found: list[float], demand: float, value: float, one: float, two: float
) -> None:
    low, high = (_earnings(found, demand=demand, value=value, price=price).best() for price in sorted((one, two)))
    assert high <= low


@given(errors, st.floats(0, 30), st.integers(0, 30), st.permutations(range(1, 60)))
def test_more_replicas_never_lose_more(found: list[float], demand: float, longest: int, asked: list[int]) -> None:
    earnings = _earnings(found, demand=demand, value=1.0, price=1.0, longest=longest)
    losses = dict(sorted((n, earnings.loss(n)) for n in asked)).values()
    assert list(losses) == sorted(losses, reverse=True)
    assert all(0 <= loss <= 1 for loss in losses)


@given(errors, st.floats(0, 30), money)
def test_without_value_one_replica_is_enough(found: list[float], demand: float, price: float) -> None:
    assert _earnings(found, demand=demand, value=0.0, price=price).best() == 1


@given(errors, st.floats(0.1, 30))
def test_a_huge_value_leaves_next_to_no_loss(found: list[float], demand: float) -> None:
    earnings = _earnings(found, demand=demand, value=1e9, price=1.0)
    best = earnings.best()
    assume(best < enough_for(demand, 0.84) + MOST_MORE)
    assert earnings.loss(best) < 1e-6


@given(errors, st.floats(0.1, 30), st.floats(0.1, 100))
def test_free_replicas_are_the_fewest_that_lose_least(found: list[float], demand: float, value: float) -> None:
    earnings = _earnings(found, demand=demand, value=value, price=0.0)
    best = earnings.best()
    assert earnings.loss(best) == earnings.loss(best + MOST_MORE)
    assert best == 1 or earnings.loss(best - 1) > earnings.loss(best)


@given(st.floats(0, 50), money, money)
def test_what_arrives_keeps_only_replicas_that_pay(work: float, value: float, price: float) -> None:
    paying = _earnings([], demand=1.0, value=value, price=price).paying(work)
    assert paying == 0 or value * min(0.84, work - (paying - 1) * 0.84) >= price - 1e-6
    assert value * min(0.84, work - paying * 0.84) <= price + 1e-6


def test_the_search_asks_for_few_replays_however_bursty_the_work_is() -> None:
    class Counting(Replay):
        asked = 0

        def loss(self, capacity: float, readers: Readers) -> float:
            self.asked += 1
            return super().loss(capacity, readers)

    bursts = [30.0 if slot % 12 < 2 else -0.5 for slot in range(240)]
    for value in (1.0, 3.0, 10.0, 100.0, 1e4):
        replay = Counting(bursts, forecast=5.0, longest_episode=14)
        prices = Prices(replica=1.0, tokens=value / 3.6)
        Earnings(replay, READERS, demand=5.0, capacity=0.84, tokens=1.0, prices=prices).best()
        assert replay.asked <= 24


def _plant(work: float, prices: Prices, **rules: Any) -> Plant:
    return Plant(arrivals=lambda _: work * PER_REPLICA, rules={"prices": prices, **rules})


def test_replicas_that_pay_are_bought_until_readers_lose_next_to_nothing() -> None:
    plant = _plant(6.0, _prices(earns=10.0)).run(3600)
    assert plant.sizes[-1] >= 6
    assert sum(lost for _, lost in plant.late[-40:]) < 0.01 * sum(count for count, _ in plant.late[-40:])
    assert plant.reasons[-1] == "OneMoreDoesNotPay"


def test_an_overload_that_does_not_pay_stays_and_says_what_it_would_cost() -> None:
    plant = _plant(3.0, _prices(earns=0.4, price=3.24)).run(3600)
    assert set(plant.sizes) == {1}
    step = plant.decisions[-1].decisive
    assert step.reason == "OneMoreDoesNotPay"
    assert "because of load" in step.message
    assert "one more replica would earn 1.09 and cost 3.24 an hour" in step.message


def test_a_replica_that_does_not_pay_goes_though_readers_are_late() -> None:
    plant = _plant(6.0, _prices(earns=0.5))
    plant.replicas = 4
    plant.__post_init__()
    plant.run(3600)
    assert plant.sizes[-1] == 1
    assert "OneFewerPays" in plant.reasons
    (removal,) = (d for d, size in zip(plant.decisions, plant.sizes, strict=True) if size == 3 and d.wanted == 3)
    assert "the last replica earns" in removal.decisive.message


def test_the_last_replica_of_a_peak_is_bought_only_where_its_part_pays() -> None:
    few = _plant(3.2, _prices(earns=1.3)).run(3600)
    many = _plant(3.2, _prices(earns=20.0)).run(3600)
    assert (few.sizes[-1], many.sizes[-1]) == (3, 4)


def test_readers_who_wait_because_a_replica_does_not_pay_do_not_buy_it_by_waiting() -> None:
    plant = _plant(2.3, _prices(earns=1.3)).run(4 * 3600)
    assert plant.queue > 1000  # who waits in this plant never gives up
    assert set(plant.sizes[10:]) == {2}


def test_nor_do_they_when_the_operator_comes_back_after_a_while() -> None:
    plant = _plant(2.3, _prices(earns=1.3)).run(2 * 3600)
    back = NOW + plant.time + 1800
    s = snapshot(spec=2, arrivals=2.3 * PER_REPLICA, waiting=9000.0, open_requests=9500.0, at=back, **plant.rules)
    assert decide(s, plant.memory.without_quiet(), back)[0].wanted == 2


def _shares(plant: Plant) -> tuple[float, object]:
    return plant.memory.plan.derating.share, plant.memory.plan.ceiling


def test_what_readers_lose_by_choice_does_not_teach_that_a_replica_carries_less() -> None:
    plant = _plant(3.0, _prices(earns=0.4)).run(6 * 3600)
    plan = plant.memory.plan
    assert sum(lost for _, lost in plant.late[-40:]) > 0.1 * sum(count for count, _ in plant.late[-40:])
    assert (plan.derating, plan.ceiling) == (Memory().plan.derating, None)


def test_nor_does_it_right_after_a_restart_of_the_operator() -> None:
    plant = _plant(3.0, _prices(earns=0.4))
    plant.restarts_at = tuple(range(40, 900, 40))
    plant.run(4 * 3600)
    assert _shares(plant) == (Memory().plan.derating.share, None)


def test_what_readers_lose_where_replicas_would_pay_teaches_as_ever() -> None:
    plant = _plant(2.5, _prices(earns=20.0))
    plant.truth = 0.5
    plant.run(4 * 3600)
    assert plant.memory.plan.accepted_at is None
    assert plant.memory.plan.derating.share < Memory().plan.derating.share
    assert plant.sizes[-1] >= 5


def test_the_memory_of_a_loss_that_was_accepted_survives_a_restart() -> None:
    memory = _plant(3.0, _prices(earns=0.4)).run(1800).memory
    assert memory.plan.accepted_at == NOW + 1800
    state = json.loads(json.dumps(memory.to_state(), allow_nan=False))
    assert Memory.from_state(VERSION, state) == memory
    assert memory.without_future(NOW).plan.accepted_at is None


def test_without_a_value_for_tokens_the_memory_has_nothing_of_it() -> None:
    plant = Plant(arrivals=lambda _: 3 * PER_REPLICA, rules={"max_replicas": 1}).run(1800)
    assert "acceptedAt" not in json.dumps(plant.memory.to_state())


def test_the_curve_tells_the_value_of_each_number() -> None:
    curve = _plant(4.0, _prices(earns=5.0)).run(900).decisions[-1].curve
    values = [point.value for point in curve]
    assert all(value is not None for value in values)
    assert values == sorted(values, key=lambda value: value or 0.0)
    target = Plant(arrivals=lambda _: 4 * PER_REPLICA).run(900).decisions[-1].curve
    assert [point.value for point in target] == [None] * 3


def _untold(prices: Prices, *, throughput: Figure | float = FULL * 2, **changes: Any) -> Decision:
    """Two replicas whose readers get half of the target, of engines that tell no demand."""
    given = {"spec": 2, "deficit": 0.475, "target_qoe": 0.95, "throughput": throughput, **changes}
    s = snapshot(prices=prices, **given)
    return decide(s, Memory(ready=s.replicas.ready), NOW)[0]


def test_without_a_plan_the_deficit_buys_what_pays() -> None:
    assert _untold(_prices(earns=2.0)).wanted == 4
    assert _untold(_prices(earns=2.0)).decisive.reason == "QoEDeficit"


def test_without_a_plan_the_value_that_is_lost_bounds_what_is_bought() -> None:
    # A deficit for which ten replicas want a third of one more: that third is worth less than its price, or more.
    changes = {"spec": 10, "deficit": 0.95 * 0.032, "throughput": FULL * 10, "open_requests": 400.0}
    assert _untold(_prices(earns=2.0), **changes).wanted == 10
    assert _untold(_prices(earns=4.0), max_replicas=20, **changes).wanted == 11


def test_without_a_plan_replicas_that_earn_less_than_they_cost_are_not_bought() -> None:
    decision = _untold(_prices(earns=0.9))
    assert (decision.wanted, decision.decisive.reason) == (2, "OneMoreDoesNotPay")
    assert "less than the 3.00 an hour that it costs" in decision.decisive.message


def test_without_a_plan_and_without_tokens_nothing_is_bought_blindly() -> None:
    decision = _untold(_prices(earns=9.0), throughput=Missing(why="an old engine"))
    assert (decision.wanted, decision.decisive.reason) == (2, "OneMoreDoesNotPay")
    assert "it is not known" in decision.decisive.message


@given(st.floats(0, 20), st.floats(0, 20), st.floats(0.01, 0.95), st.integers(1, 9))
def test_without_a_plan_more_value_never_buys_fewer(one: float, two: float, deficit: float, spec: int) -> None:
    low, high = (
        _untold(_prices(earns=earns), spec=spec, deficit=deficit, throughput=FULL * spec, max_replicas=40)
        for earns in sorted((one, two))
    )
    assert high.wanted >= low.wanted


def test_the_bounds_hold_in_budget_mode() -> None:
    assert _plant(6.0, _prices(earns=0.0), min_replicas=2).run(900).sizes[-1] == 2
    plant = _plant(6.0, _prices(earns=50.0), max_replicas=3).run(900)
    assert plant.sizes[-1] == 3
    assert plant.decisions[-1].decisive.reason == "MaxReplicas"


def _rules(**budget: float) -> Prices | None:
    spec = {"model": {"id": "org/model"}, "scaling": {"maxReplicas": 8, "budget": budget}}
    return scaling_rules(LLMService.parse({"metadata": {"name": "chat"}, "spec": spec}), window=60.0).prices


def test_a_price_alone_fills_the_cost_column_and_a_value_makes_it_budget_mode() -> None:
    assert _rules(pricePerReplicaHour=3.0) is None
    both = _rules(pricePerReplicaHour=3.0, valuePerKiloSmoothTokens=0.002)
    assert both == Prices(replica=3.0, tokens=0.002)
    assert both.worth(1000.0) == pytest.approx(7.2)  # 3.6 million tokens an hour
