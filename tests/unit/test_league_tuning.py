"""The tuner: the same budget for every law, and what it finds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest
from benchmarks.league.promise import Promise
from benchmarks.league.tuning import accepted, cost, tune

from andante.sim.laws.parameters import Parameter

PARAMETERS = (
    Parameter(name="size", low=1, high=1000, logarithmic=True),
    Parameter(name="share", low=0, high=1),
    Parameter(name="count", low=1, high=9, whole=True),
)
DEFAULTS = {"size": 500.0, "share": 0.9, "count": 9.0}


@dataclass(frozen=True)
class Run:
    """What a segment cost and gave."""

    replica_hours: float
    mean_qoe: float
    share_good: float = 1.0
    turns: float = 0.0
    seconds: float = 3600.0


def _bowl(settings: Mapping[str, float], enough: float = math.inf) -> float:
    """Least, 0, at size 10, share .3, count 4."""
    here = {**DEFAULTS, **settings}
    return math.log(here["size"] / 10) ** 2 + 4 * (here["share"] - 0.3) ** 2 + 0.2 * (here["count"] - 4) ** 2


def test_the_tuner_finds_the_bottom_of_a_bowl() -> None:
    found = tune(PARAMETERS, DEFAULTS, _bowl, budget=120, seed=1)
    assert found.default_cost == _bowl({})
    assert found.cost == _bowl(found.settings)
    assert found.cost < 0.02 * found.default_cost
    assert found.settings["count"] == 4.0


def test_the_budget_counts_every_evaluation() -> None:
    calls: list[Mapping[str, float]] = []

    def counted(settings: Mapping[str, float], enough: float) -> float:
        calls.append(settings)
        return _bowl(settings)

    for budget in (1, 2, 17):
        calls.clear()
        assert tune(PARAMETERS, DEFAULTS, counted, budget=budget, seed=3).evaluations == len(calls) == budget


def test_the_same_seed_finds_the_same() -> None:
    assert tune(PARAMETERS, DEFAULTS, _bowl, budget=30, seed=5) == tune(PARAMETERS, DEFAULTS, _bowl, budget=30, seed=5)
    assert tune(PARAMETERS, DEFAULTS, _bowl, budget=30, seed=5) != tune(PARAMETERS, DEFAULTS, _bowl, budget=30, seed=6)


def test_defaults_that_are_best_stay() -> None:
    found = tune(PARAMETERS, DEFAULTS, lambda settings, _: float(bool(settings)), budget=20, seed=0)
    assert found.settings == {}
    assert found.cost == 0.0


def test_nothing_to_tune_costs_one_evaluation() -> None:
    assert tune((), {}, lambda *_: 3.0, budget=50, seed=0).evaluations == 1


def test_no_budget_is_refused() -> None:
    with pytest.raises(ValueError, match="budget must be >= 1"):
        tune(PARAMETERS, DEFAULTS, _bowl, budget=0, seed=0)


def test_a_missed_goal_costs_by_how_much_it_is_missed() -> None:
    met = Run(replica_hours=4.0, mean_qoe=0.96, share_good=0.98)
    assert cost([met, met], Promise.MEAN_QOE) == 8.0
    assert cost([met], Promise.SHARE_GOOD, penalty=20) == pytest.approx(4 * (1 + 20 * 1.0))
    missed = Run(replica_hours=3.0, mean_qoe=0.945, share_good=0.99)
    assert cost([missed], Promise.MEAN_QOE, penalty=20) == pytest.approx(3 * (1 + 20 * 0.1))
    assert cost([missed], Promise.SHARE_GOOD) == 3.0


def test_twice_the_changes_that_are_accepted_double_the_cost() -> None:
    assert cost([Run(4.0, 1.0, turns=4.0)], Promise.MEAN_QOE) == 4.0
    assert cost([Run(4.0, 1.0, turns=8.0)], Promise.MEAN_QOE) == 8.0


@pytest.mark.parametrize(("minutes", "turns"), [(10, 1), (15, 1), (16, 2), (28, 2), (60, 4), (61, 5)])
def test_the_changes_that_are_accepted_in_a_run_are_whole_ones(minutes: int, turns: int) -> None:
    assert accepted(60.0 * minutes) == turns
    assert cost([Run(4.0, 1.0, turns=turns, seconds=60.0 * minutes)], Promise.MEAN_QOE) == 4.0
    assert cost([Run(4.0, 1.0, turns=turns + 1, seconds=60.0 * minutes)], Promise.MEAN_QOE) > 4.0


def test_no_segment_is_run_once_the_cost_is_too_high() -> None:
    asked = []

    def runs() -> Iterator[Run]:
        for hours in (4.0, 3.0, 9.0):
            asked.append(hours)
            yield Run(hours, 1.0)

    assert cost(runs(), Promise.MEAN_QOE, enough=5.0) == 7.0
    assert asked == [4.0, 3.0]


def test_the_tuner_tells_how_much_is_too_much() -> None:
    told = []

    def evaluate(settings: Mapping[str, float], enough: float) -> float:
        told.append(enough)
        return 5.0 if settings else 4.0

    tune(PARAMETERS, DEFAULTS, evaluate, budget=4, seed=0)
    assert told == [math.inf, 4.0, 4.0, 4.0]


def test_a_run_without_a_figure_is_never_best() -> None:
    assert cost([Run(replica_hours=1.0, mean_qoe=math.nan, share_good=1.0)], Promise.MEAN_QOE) == math.inf


@pytest.mark.parametrize("parameter", PARAMETERS)
def test_a_parameters_share_and_value_are_inverse(parameter: Parameter) -> None:
    for value in (parameter.low, parameter.high, parameter.at(0.5)):
        assert parameter.at(parameter.share(value)) == pytest.approx(value)


@pytest.mark.parametrize(
    ("low", "high", "logarithmic", "words"), [(2, 2, False, "below high"), (0, 2, True, "starts above 0")]
)
def test_a_range_that_is_none_is_refused(low: float, high: float, logarithmic: bool, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Parameter(name="x", low=low, high=high, logarithmic=logarithmic)
