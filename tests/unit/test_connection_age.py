"""A connection's age: spread, so that connections opened together do not end together."""

from __future__ import annotations

from andante_vllm.connection_age import ConnectionAge

OPENED = 1000.0


def test_connections_opened_together_end_over_a_fifth_before_and_after_the_age() -> None:
    ages = [ConnectionAge(OPENED) for _ in range(1000)]

    def old(after: float) -> int:
        return sum(age.reached(30.0, at=OPENED + after) for age in ages)

    assert (old(23.9), old(36.1)) == (0, 1000)
    assert 400 < old(30.0) < 600
    assert 100 < old(26.0) < 300


def test_a_connection_that_is_old_stays_old() -> None:
    age = ConnectionAge(OPENED)
    reached = [age.reached(30.0, at=OPENED + after) for after in range(60)]
    assert reached == sorted(reached)


def test_without_an_age_no_connection_is_old() -> None:
    assert not ConnectionAge(OPENED).reached(0.0, at=OPENED + 1e9)
