"""How much of the reckoned capacity the plan counts on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andante.domain.scaling.derating import LEAST, START, Derating, Evidence
from unit.scaling_snapshots import NOW

TICK, WINDOW, FORGET = 15.0, 60.0, 86_400.0
BUDGET = 0.05
fractions = st.floats(0, 1)


def _after(
    ticks: int, *, derating: Derating | None = None, begin: float = NOW, loss: float = 0.0, load: float = 0.8,
    requests: float = TICK, enough: bool = True, relievable: bool = True,
) -> Derating:  # fmt: skip
    found = Derating() if derating is None else derating
    for tick in range(ticks):
        new = Evidence(loss=loss, budget=BUDGET, requests=requests, usual_rate=1.0, load=load)
        now = begin + tick * TICK
        found = found.learned(new, now, enough=enough, relievable=relievable, window=WINDOW, forget=FORGET)
    return found


def test_it_grows_to_all_of_it_while_readers_lose_nothing() -> None:
    assert START < _after(20).share < _after(40).share < 1
    assert _after(400, load=1.0).share == 1


@pytest.mark.parametrize("loss", [0.0, 0.06])
def test_a_request_counts_the_same_at_every_length_of_a_tick(loss: float) -> None:
    often, seldom = _after(300, loss=loss, load=0.4, requests=1.0), _after(20, loss=loss, load=0.4, requests=15.0)
    assert often.share == pytest.approx(seldom.share, abs=1e-3)
    assert abs(seldom.share - START) > 5e-3


def test_it_falls_while_readers_lose_more_than_the_budget() -> None:
    assert START > _after(10, loss=0.1).share > _after(20, loss=0.1).share > LEAST
    assert _after(1000, loss=0.1).share == LEAST


def test_it_stays_where_readers_lose_just_the_budget() -> None:
    assert _after(100, loss=BUDGET).share == START


def test_replicas_with_little_to_do_show_little() -> None:
    assert START < _after(50, load=0.1).share < _after(50, load=0.4).share < _after(50, load=0.8).share


def test_a_quiet_night_is_no_evidence() -> None:
    assert _after(1000, requests=0.0).share == START


@pytest.mark.parametrize(("enough", "relievable"), [(False, True), (True, False)])
def test_what_another_lost_does_not_count(enough: bool, relievable: bool) -> None:
    assert _after(100, loss=0.5, enough=enough, relievable=relievable).share == START


def test_it_does_not_come_back_to_where_readers_lost() -> None:
    grown = _after(40, load=1.0)
    fallen = _after(4, derating=grown, begin=NOW + 40 * TICK, loss=0.1)
    later = _after(100, derating=fallen, begin=NOW + 44 * TICK, load=1.0)
    assert later.share < grown.share
    forgotten = _after(400, derating=fallen, begin=NOW + FORGET, load=1.0)
    assert forgotten.share == 1


def test_who_waits_since_there_were_too_few_does_not_bound_it() -> None:
    """Readers who waited for replicas are late for a while although these are there."""
    short = _after(10, loss=0.5, enough=False)
    fallen = _after(3, derating=short, begin=NOW + 10 * TICK, loss=0.1)
    assert fallen.share < START
    assert _after(400, derating=fallen, begin=NOW + 13 * TICK, load=1.0).share == 1


@given(
    history=st.lists(
        st.tuples(fractions, st.floats(0, 5), st.floats(0, 1000), st.booleans(), st.booleans()), max_size=50
    )
)
def test_it_keeps_its_bounds_and_survives_a_restart(history: list[tuple[float, float, float, bool, bool]]) -> None:
    found = Derating()
    for tick, (loss, load, requests, enough, relievable) in enumerate(history):
        new = Evidence(loss=loss, budget=BUDGET, requests=requests, usual_rate=1.0, load=load)
        now = NOW + tick * TICK
        found = found.learned(new, now, enough=enough, relievable=relievable, window=WINDOW, forget=FORGET)
        assert LEAST <= found.share <= 1
    assert Derating.from_state(found.to_state()) == found


def test_a_format_of_another_version_begins_afresh() -> None:
    state = _after(40).to_state() | {"v": 99}
    assert Derating.from_state(state) == Derating()


def test_times_of_the_future_are_dropped() -> None:
    fallen = _after(40, loss=0.1)
    assert fallen.lost_at is not None
    assert fallen.without_future(NOW) == Derating(share=fallen.share, enough_since=NOW)
