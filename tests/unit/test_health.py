"""What the operator's health hears of, and what it says then."""

from __future__ import annotations

from andante.runtime.health import Health


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> float:
        return 0.0

    def monotonic(self) -> float:
        return self.seconds


def _health() -> tuple[Health, Clock]:
    clock = Clock()
    health = Health(clock)
    health.expect("tick", within=60)
    health.expect("watch", within=240)
    return health, clock


def test_a_part_that_is_silent_for_too_long_is_overdue() -> None:
    health, clock = _health()
    clock.seconds = 100.0
    assert health.overdue() == {"tick": 100.0}


def test_a_word_in_time_is_enough() -> None:
    health, clock = _health()
    clock.seconds = 50.0
    health.word_of("tick")
    clock.seconds = 100.0
    assert health.overdue() == {}


def test_what_an_outage_excuses_begins_anew_and_the_rest_does_not() -> None:
    health, clock = _health()
    clock.seconds = 300.0
    health.excuse(but=("tick",))
    assert health.overdue() == {"tick": 300.0}


def test_of_a_part_that_has_ended_nothing_is_expected() -> None:
    health, clock = _health()
    health.forget("tick")
    clock.seconds = 100.0
    assert health.overdue() == {}


def test_a_word_of_a_part_that_nobody_expects_is_let_go() -> None:
    health, _ = _health()
    health.word_of("another")
    assert set(health.silences()) == {"tick", "watch"}
