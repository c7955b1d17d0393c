"""When a table says that the policy is worse than stock, or that a rival dominates it."""

from __future__ import annotations

import pytest
from benchmarks.scheduling.checks import dominates, dominating, worse

STOCK = {"mean_qoe": 0.9, "smooth_goodput": 1_000.0, "throughput": 1_500.0, "share_left": 0.05}


def test_a_run_that_equals_stock_is_not_worse() -> None:
    assert worse(STOCK, STOCK) == []


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"mean_qoe": 0.8979}, ["mean QoE 0.8979 (0.9000)"]),
        ({"mean_qoe": 0.8981}, []),
        ({"smooth_goodput": 984.0}, ["smooth goodput 984 (1000)"]),
        ({"smooth_goodput": 986.0}, []),
        ({"throughput": 1_424.0}, ["tokens/s 1424 (1500)"]),
        ({"throughput": 1_426.0}, []),
        ({"share_left": 0.0521}, ["share who left 5.21% (5.00%)"]),
        ({"share_left": 0.0519}, []),
    ],
)
def test_each_figure_has_its_limit(change: dict[str, float], found: list[str]) -> None:
    assert worse(STOCK | change, STOCK) == found


@pytest.mark.parametrize(
    ("qoe", "goodput", "above"),
    [(0.903, 1_011.0, True), (0.903, 1_009.0, False), (0.901, 1_100.0, False), (0.99, 900.0, False)],
)
def test_a_rival_dominates_only_in_both_figures(qoe: float, goodput: float, above: bool) -> None:
    assert dominates({"mean_qoe": qoe, "smooth_goodput": goodput}, STOCK) is above


def test_a_goodput_below_zero_has_its_tolerance_too() -> None:
    below = {"mean_qoe": 0.9, "smooth_goodput": -1_000.0}
    assert not dominates({"mean_qoe": 0.95, "smooth_goodput": -991.0}, below)
    assert dominates({"mean_qoe": 0.95, "smooth_goodput": -989.0}, below)


def test_rivals_are_compared_at_the_loads_that_count_and_with_the_same_memory() -> None:
    better = {"mean_qoe": 0.99, "smooth_goodput": 1_200.0}
    points = {
        ("qoe", 1.0): STOCK, ("edf", 1.0): better, ("edf+host", 1.0): better,
        ("qoe", 2.0): STOCK, ("edf", 2.0): better, ("las", 1.0): STOCK,
    }  # fmt: skip
    assert dominating(points, "qoe") == [
        ("edf", 1.0, "mean QoE 0.9900 (0.9000); smooth goodput 1200 (1000)"),
    ]
