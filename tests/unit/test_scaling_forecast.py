"""The forecast of the demand one horizon ahead: what noise, surges and floods teach it, and what time does to it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andante.domain.scaling.forecast import KEPT_ERRORS, SLOT_SECONDS, Forecast
from unit.scaling_snapshots import NOW, forecast_after

demands = st.lists(st.floats(0, 50), max_size=80)


def test_a_constant_demand_is_forecast_without_an_error() -> None:
    forecast = forecast_after([3.0] * 100)
    assert forecast.peak == 3.0
    assert set(forecast.errors) == {0.0}


def test_a_step_that_stays_is_followed_at_once() -> None:
    assert forecast_after([2.0] * 100 + [6.0, 6.0]).peak == pytest.approx(6.0, rel=0.05)


def test_bursts_that_always_pass_are_forecast_as_less_than_they_are() -> None:
    bursts = ([2.0] * 18 + [6.0, 6.0]) * 12
    forecast = forecast_after(bursts)
    newest = forecast.trail.newest
    assert newest is not None
    assert newest.fast == 6.0
    assert forecast.recent[-1] < 4.5


def test_small_surges_that_passed_do_not_make_a_flood_a_small_one() -> None:
    surges = ([2.0] * 18 + [3.2, 3.2]) * 12
    assert forecast_after([*surges, *[2.0] * 20, 3.2, 3.2]).recent[-1] < 2.8
    assert forecast_after([*surges, *[2.0] * 20, 8.0, 8.0]).recent[-1] > 7.5


def test_what_a_flood_taught_is_forgotten_within_hours() -> None:
    flood = [2.0] * 60 + [8.0] * 6
    assert forecast_after([*flood, *[2.0] * 40, 8.0, 8.0]).recent[-1] < 5.0
    assert forecast_after([*flood, *[2.0] * 2000, 8.0, 8.0]).recent[-1] > 6.5


def test_one_slot_counts_at_once_if_it_is_far_above_what_is_usual() -> None:
    usual = [2.0, 2.4, 1.6] * 40
    assert forecast_after([*usual, 6.0]).recent[-1] == pytest.approx(6.0, rel=0.05)
    assert forecast_after([*usual, 3.6]).recent[-1] < 3.0


def test_the_same_sample_counts_once() -> None:
    forecast = forecast_after([2.0] * 20)
    again = forecast.learned(9.0, at=forecast.at or 0, seconds=15, horizon_slots=9, peak_slots=20)
    assert again == forecast


@pytest.mark.parametrize("slots", [0, 1, 2, 5, 20])
def test_the_forecast_in_force_is_the_largest_of_the_present_slot_and_as_many_before_it_as_are_asked_for(
    slots: int,
) -> None:
    forecast, inside = forecast_after([0.0] * 80, peak=slots), []
    for number, value in enumerate([9.0, 9.0, *[0.0] * 30]):
        at = NOW + SLOT_SECONDS * (80 + number)
        forecast = forecast.learned(value, at=at, seconds=SLOT_SECONDS, horizon_slots=9, peak_slots=slots)
        inside.append(forecast.peak is not None and forecast.peak > 8.0)
    assert inside == [True] * (slots + 2) + [False] * (30 - slots)


def test_a_long_gap_makes_no_error_of_what_was_not_seen() -> None:
    forecast = forecast_after([2.0] * 40)
    later = forecast.learned(8.0, at=(forecast.at or 0) + 3600, seconds=15, horizon_slots=9, peak_slots=20)
    assert later.errors == forecast.errors
    assert len(later.trail) == 1


@given(demands)
def test_a_forecast_survives_a_restart(demand: list[float]) -> None:
    forecast = forecast_after(demand)
    assert Forecast.from_state(json.loads(json.dumps(forecast.to_state(), allow_nan=False))) == forecast
    assert len(forecast.errors) <= KEPT_ERRORS
