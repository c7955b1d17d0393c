"""The league's yardstick: the cheapest fleet that hindsight finds, with few runs."""

from __future__ import annotations

import pytest
from benchmarks.league import oracle
from benchmarks.league.cases import Case
from benchmarks.league.promise import Promise
from benchmarks.league.runs import Result

CASE = Case(scaler="andante")


def result(*, hours: float, qoe: float) -> Result:
    return Result(
        replica_hours=hours, mean_qoe=qoe, share_good=qoe, smooth_goodput=1.0, share_left=0.0, errors=0, cut=0,
        turns=0, seconds=3600.0, most_replicas=1, p5_qoe=qoe,
    )  # fmt: skip


def runs_where(monkeypatch: pytest.MonkeyPatch, *, enough: int, best_use: float) -> list[str]:
    """Static fleets of `enough` replicas keep the promise, and timetables up to `best_use`; the runs that are made."""
    made: list[str] = []

    def cached(case: Case) -> Result:
        made.append(case.scaler)
        name, _, number = case.scaler.partition(":")
        if name == "static":
            return result(hours=float(number), qoe=1.0 if int(number) >= enough else 0.5)
        return result(hours=6.0 / float(number), qoe=1.0 if float(number) <= best_use else 0.5)

    monkeypatch.setattr(oracle, "cached", cached)
    return made


@pytest.mark.parametrize("enough", [1, 2, 7, 23, 40])
def test_the_smallest_fleet_that_keeps_the_promise_is_found(monkeypatch: pytest.MonkeyPatch, enough: int) -> None:
    made = runs_where(monkeypatch, enough=enough, best_use=0.0)
    found = oracle.smallest_static(CASE, Promise.MEAN_QOE)
    assert found is not None
    assert found[0] == f"static:{enough}"
    assert len(made) <= 9


def test_a_promise_that_no_fleet_keeps_has_no_price(monkeypatch: pytest.MonkeyPatch) -> None:
    runs_where(monkeypatch, enough=99, best_use=0.0)
    assert oracle.oracle(CASE, Promise.SHARE_GOOD) is None


def test_the_cheaper_of_fleet_and_timetable_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    runs_where(monkeypatch, enough=9, best_use=0.85)
    found = oracle.oracle(CASE, Promise.MEAN_QOE)
    assert found is not None
    assert (found[0], found[1].replica_hours) == ("hindsight:0.85", pytest.approx(6.0 / 0.85))
    runs_where(monkeypatch, enough=7, best_use=0.85)
    found = oracle.oracle(CASE, Promise.MEAN_QOE)
    assert found is not None
    assert found[0] == "static:7"
