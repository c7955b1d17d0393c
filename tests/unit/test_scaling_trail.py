"""What the plan remembers of one horizon ago, in little memory however long the horizon is."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andante.domain.scaling.forecast import KEPT_ERRORS, SLOT_SECONDS, Forecast
from andante.domain.scaling.memory import VERSION, Memory
from andante.domain.scaling.series import LARGEST, Series, half
from andante.domain.scaling.trail import MOST_POINTS, Point, Trail
from unit.scaling_snapshots import NOW

horizons = st.integers(1, 2000)


def _walked(slots: int, horizon: int) -> tuple[Trail, list[int]]:
    """The trail after so many slots, each of which has its number, and the ages of what was seen one horizon before."""
    trail, ages = Trail(), []
    for slot in range(slots):
        trail = trail.reaching(horizon)
        then = trail.before(horizon)
        if then is not None:
            ages.append(slot - round(then.forecast))
        trail = trail.appended(Point(fast=0.0, slow=0.0, forecast=float(slot)))
    return trail, ages


@pytest.mark.parametrize("horizon", [1, 2, 9, 47, 48, 49, 62, 82, 95, 96, 200, 700])
def test_each_slot_is_compared_with_what_was_known_one_horizon_before(horizon: int) -> None:
    trail, ages = _walked(2 * horizon + 100, horizon)
    coarse = 1 if horizon <= MOST_POINTS else 2 ** math.ceil(math.log2((horizon - 1) / (MOST_POINTS - 1)))
    assert len(ages) == horizon + 100
    assert horizon <= min(ages)
    assert max(ages) < horizon + coarse
    assert len(trail) <= MOST_POINTS + 1


@given(st.lists(st.tuples(horizons, st.integers(1, 60)), min_size=1, max_size=20))
def test_a_horizon_that_changes_never_finds_what_was_known_later(walk: list[tuple[int, int]]) -> None:
    trail, slot = Trail(), 0
    for horizon, slots in walk:
        for _ in range(slots):
            trail = trail.reaching(horizon)
            then = trail.before(horizon)
            assert then is None or slot - then.forecast >= horizon
            trail = trail.appended(Point(fast=0.0, slow=0.0, forecast=float(slot)))
            assert trail.newest == Point(fast=0.0, slow=0.0, forecast=float(slot))
            assert len(trail) <= MOST_POINTS + 1
            slot += 1
    assert Trail.from_state(json.loads(json.dumps(trail.to_state()))) == trail


def test_a_trail_is_kept_where_the_horizon_grows_beyond_its_grid_and_comes_back() -> None:
    trail, _ = _walked(200, 40)
    assert trail.reaching(90).before(40) is not None
    assert trail.reaching(90).reaching(40).before(40) is not None


@pytest.mark.parametrize("minutes", [2, 11, 15, 20, 60])
def test_errors_are_learned_with_a_warm_up_of_any_length(minutes: int) -> None:
    forecast, horizon = Forecast(), round(60 * minutes / SLOT_SECONDS) + 2
    for slot in range(3 * horizon):
        at, work = NOW + SLOT_SECONDS * slot, 2.0 if slot % 10 < 7 else 5.0
        forecast = forecast.learned(work, at=at, seconds=SLOT_SECONDS, horizon_slots=horizon, peak_slots=20)
    assert len(forecast.errors) == min(2 * horizon, KEPT_ERRORS)
    assert set(forecast.errors) != {0.0}
    assert len(json.dumps(forecast.to_state())) < 1600


@given(st.lists(st.floats(-1e9, 1e9), max_size=40), st.integers(1, 30))
def test_a_series_keeps_the_newest_numbers_to_half_precision(values: list[float], most: int) -> None:
    series = Series()
    for value in values:
        series = series.appended(value, most=most)
    assert list(series) == [half(value) for value in values[-most:]]
    assert len(series) == min(most, len(values))
    for value, kept in zip(values[-most:], series, strict=True):
        assert kept == pytest.approx(max(-LARGEST, min(LARGEST, value)), rel=5e-4, abs=1e-7)
    assert Series.from_text(json.loads(json.dumps(series.to_text())), most=most) == series


@pytest.mark.parametrize("text", [None, 3, ["AAA="], "AAA", "A A=", "\u00e9", "AA==", Series.of([1.0]).to_text() + "x"])
def test_a_text_that_is_no_series_is_refused(text: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        Series.from_text(text, most=9)


@pytest.mark.parametrize("value", [math.inf, math.nan, -1.0])
def test_numbers_that_no_demand_is_are_refused(value: float) -> None:
    text = Series(Series.of([1.0]).data + Series.of([0.0]).data).to_text()
    assert len(Series.from_text(text, most=9, least=0.0)) == 2
    with pytest.raises(ValueError, match="out of range"):
        Series.from_text(Series(np.array([value], dtype="<f2").tobytes()).to_text(), most=9, least=0.0)


@pytest.mark.parametrize(
    "edit",
    [
        {"stride": 3}, {"stride": 0}, {"stride": 1 << 40}, {"since": 1}, {"since": -1}, {"fast": ""}, {"forecast": "!"},
        {"slow": None}, {"stride": "x"}, {"stride": 2, "since": 7}, {"fast": "/////w=="},
    ],
)  # fmt: skip
def test_an_edited_trail_is_dropped_with_the_memory_that_holds_it(edit: dict[str, object]) -> None:
    forecast = Forecast()
    for slot in range(30):
        at = NOW + SLOT_SECONDS * slot
        forecast = forecast.learned(2.0, at=at, seconds=SLOT_SECONDS, horizon_slots=9, peak_slots=20)
    state = Memory().to_state()
    state["plan"]["forecast"] = forecast.to_state()
    assert Memory.from_state(VERSION, state).plan.forecast == forecast
    state["plan"]["forecast"]["trail"] |= edit
    assert Memory.from_state(VERSION, state) == Memory()
