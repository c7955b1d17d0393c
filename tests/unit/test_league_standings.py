"""Who leads the league, from scores."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from benchmarks.league.promise import Promise
from benchmarks.league.standings import Score, Table


def score(hours: float, qoe: float = 0.96, turns: float = 1.0, seconds: float = 3600.0) -> Score:
    return Score(
        hours=hours, hours_range=(hours, hours), mean_qoe=qoe, share_good=qoe, smooth_goodput=1.0,
        turns=turns, seconds=seconds, seeds=1,
    )  # fmt: skip


def table(qoe: Mapping[str, Mapping[str, Score]], stock: Mapping[str, Mapping[str, Score]] | None = None) -> Table:
    return Table(
        promise=Promise.MEAN_QOE, ours="ours", installable=["hpa", "keda"], with_our_capacity=["planner"],
        scores={"qoe": qoe, "stock": stock or {}}, oracle={"qoe": {"day": 3.0, "step": 2.0}},
    )  # fmt: skip


def test_the_best_rival_is_the_cheapest_that_keeps_what_ours_keeps() -> None:
    found = table({
        "ours": {"day": score(4.0), "step": score(4.0)},
        "hpa": {"day": score(3.0), "step": score(1.0, qoe=0.5)},
        "keda": {"day": score(6.0), "step": score(4.0)},
        "planner": {"day": score(4.0), "step": score(3.0)},
    }).headline(("day", "step"))  # fmt: skip
    assert (found["best_rival"], found["gpu_hours_over_best_tuned_rival"]) == ("keda", 0.8)
    assert found["gpu_hours_over_planner_with_our_capacity"] == pytest.approx(8 / 7, abs=1e-3)
    assert found["gpu_hours_over_oracle"] == 1.6
    assert (found["keeps_promise_on"], found["best_rival_keeps_promise_on"], found["of_workloads"]) == (2, 2, 2)


def test_a_promise_that_ours_breaks_is_told() -> None:
    found = table({"ours": {"day": score(2.0, qoe=0.9)}, "hpa": {"day": score(3.0)}}).headline(("day",))
    assert found["keeps_promise_on"] == 0
    assert found["best_rival_keeps_promise_on"] == 1
    assert found["gpu_hours_over_best_tuned_rival"] is None


def test_a_rival_that_keeps_less_than_another_is_not_the_best_one() -> None:
    found = table({
        "ours": {"day": score(2.0), "step": score(2.0, qoe=0.9)},
        "hpa": {"day": score(1.0), "step": score(1.0, qoe=0.5)},
        "keda": {"day": score(5.0), "step": score(5.0)},
        "planner": {"day": score(4.0), "step": score(4.0, qoe=0.9)},
    }).headline(("day", "step"))  # fmt: skip
    assert (found["best_rival"], found["best_rival_keeps_promise_on"]) == ("keda", 2)
    assert found["gpu_hours_over_best_tuned_rival"] is None
    assert found["gpu_hours_over_planner_with_our_capacity"] == 0.5


def test_without_a_rival_that_keeps_as_much_the_one_that_keeps_most_counts() -> None:
    found = table({
        "ours": {"day": score(4.0), "step": score(4.0)},
        "hpa": {"day": score(2.0, qoe=0.5), "step": score(2.0, qoe=0.5)},
        "keda": {"day": score(5.0), "step": score(3.0, qoe=0.5)},
    }).headline(("day", "step"))  # fmt: skip
    assert (found["best_rival"], found["best_rival_keeps_promise_on"]) == ("keda", 1)


def test_who_turns_too_often_does_not_keep_the_promise() -> None:
    assert score(1.0, turns=4.0).met(Promise.MEAN_QOE)
    assert not score(1.0, turns=4.1).met(Promise.MEAN_QOE)


def test_a_run_of_half_an_hour_may_turn_up_and_down_again() -> None:
    assert score(1.0, turns=2.0, seconds=1680.0).met(Promise.MEAN_QOE)
    assert not score(1.0, turns=3.0, seconds=1680.0).met(Promise.MEAN_QOE)


def test_the_gain_is_split_into_scheduler_and_scaler() -> None:
    found = table(
        {"ours": {"day": score(3.0)}, "hpa": {"day": score(4.0)}},
        {"ours": {"day": score(5.0)}, "hpa": {"day": score(8.0)}},
    ).headline(("day",))
    assert (found["scheduler_alone"], found["scaler_alone"], found["both"]) == (0.5, 0.625, 0.375)


def test_the_scheduler_alone_is_changed_under_the_same_rival() -> None:
    found = table(
        {"ours": {"day": score(3.0)}, "hpa": {"day": score(4.0)}, "keda": {"day": score(5.0)}},
        {"ours": {"day": score(5.0)}, "hpa": {"day": score(8.0)}, "keda": {"day": score(6.0)}},
    ).headline(("day",))
    assert (found["best_rival"], found["best_rival_on_stock"]) == ("hpa", "keda")
    assert (found["scheduler_alone"], found["both"]) == (0.5, 0.5)
    assert found["same_rival_on_stock_keeps_promise_on"] == 1


def test_the_rival_on_stock_keeps_what_the_best_rival_keeps() -> None:
    bad = {"day": score(1.0, qoe=0.5)}
    found = table(
        {"ours": {"day": score(3.0)}, "hpa": {"day": score(4.0)}, "keda": bad},
        {"ours": bad, "hpa": {"day": score(8.0)}, "keda": bad},
    ).headline(("day",))
    assert (found["best_rival_on_stock"], found["scaler_alone"], found["both"]) == ("hpa", None, 0.375)


def test_what_was_not_played_has_no_ratio() -> None:
    found = table({"ours": {"day": score(3.0)}}).headline(("day", "step"))
    assert found["gpu_hours"] is None
    assert found["gpu_hours_over_best_tuned_rival"] is None
    assert table({"ours": {"day": score(3.0)}}).headline(("flash",))["gpu_hours_over_oracle"] is None
