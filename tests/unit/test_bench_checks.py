"""When a table says that the policy is worse than stock, or that a rival dominates it."""

from __future__ import annotations

import pytest
from benchmarks.scheduling.checks import beyond_limits, dominates, dominating, interval, verdict, worse

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


@pytest.mark.parametrize(
    "change",
    [{"mean_qoe": 0.8979}, {"smooth_goodput": 984.0}, {"throughput": 1_424.0}, {"share_left": 0.0521}],
    ids=lambda change: next(iter(change)),
)
def test_what_is_beyond_a_limit_is_what_counts_as_worse(change: dict[str, float]) -> None:
    beyond = beyond_limits(STOCK | change, STOCK)
    assert [what for what, by in beyond.items() if by > 0] == [worse(STOCK | change, STOCK)[0].rsplit(" ", 2)[0]]


@pytest.mark.parametrize(
    ("beyond", "says"),
    [
        ([0.001] * 5 + [0.003] * 5, "worse"),
        ([-0.001] * 5 + [-0.003] * 5, "not worse"),
        ([0.002] + [0.0] * 9, "not decided"),
        ([0.0] * 10, "not worse"),
    ],
)
def test_one_seed_decides_nothing(beyond: list[float], says: str) -> None:
    assert verdict(beyond) == says


def test_the_interval_is_students() -> None:
    middle, half = interval([1.0, 3.0] * 5)
    assert middle == 2.0
    assert half == pytest.approx(2.262 * (10 / 9) ** 0.5 / 10**0.5)


def test_the_interval_of_another_number_of_seeds_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 10 values, got 3"):
        interval([1.0, 2.0, 3.0])
