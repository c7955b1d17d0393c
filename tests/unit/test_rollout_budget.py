"""Which services may replace their pods: never more than the budget, the oldest first, and all in the end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andante.domain.rollout_budget import RolloutBudget, ServiceRollout, next_turns

SERVICES = st.lists(
    st.tuples(st.booleans(), st.none() | st.floats(0, 1e9)).map(lambda s: (s[0], s[1])), max_size=30
).map(
    lambda found: [
        ServiceRollout(key=("team", f"s{number}"), rolling=rolling, waiting_since=since)
        for number, (rolling, since) in enumerate(found)
    ]
)


@given(SERVICES, st.integers(1, 40))
def test_no_more_than_the_budget_roll_at_once(services: list[ServiceRollout], budget: int) -> None:
    rolling = sum(service.rolling for service in services)
    begun = next_turns(services, budget=budget)
    assert len(begun) == len(set(begun)) <= max(0, budget - rolling)
    waiting = {s.key for s in services if s.waiting_since is not None and not s.rolling}
    assert set(begun) <= waiting
    # Nor fewer: a free turn is not lost.
    assert len(begun) == min(len(waiting), max(0, budget - rolling))


@given(SERVICES, st.integers(1, 40))
def test_who_waits_on_has_not_waited_longer_than_who_begins(services: list[ServiceRollout], budget: int) -> None:
    since = {s.key: s.waiting_since for s in services if s.waiting_since is not None and not s.rolling}
    begun = next_turns(services, budget=budget)
    latest = max((since[key] for key in begun), default=0.0)
    assert all(latest <= value for key, value in since.items() if begun and key not in begun)


@given(st.integers(1, 40), st.integers(1, 10), st.randoms(use_true_random=False))
def test_all_get_their_turn_whenever_rollouts_end(count: int, budget: int, random: object) -> None:
    waiting, rolling, done = dict.fromkeys(range(count)), set[int](), set[int]()
    rounds = 0
    while len(done) < count:
        services = [
            ServiceRollout(key=("t", f"{n:02}"), rolling=n in rolling, waiting_since=float(n) if n in waiting else None)
            for n in range(count)
        ]
        for _, name in next_turns(services, budget=budget):
            waiting.pop(int(name))
            rolling.add(int(name))
        assert 0 < len(rolling) <= budget
        done.add(rolling.pop())
        rounds += 1
    assert rounds == count


@pytest.mark.parametrize(
    ("text", "services", "at_once"),
    [("3", 1000, 3), ("10%", 1000, 100), ("10%", 11, 2), ("10%", 3, 1), ("7%", 100, 7), ("100%", 5, 5), ("1%", 0, 1)],
)
def test_a_budget_is_a_number_or_a_share(text: str, services: int, at_once: int) -> None:
    assert RolloutBudget.parse(text).of(services) == at_once


@pytest.mark.parametrize("text", ["0", "0%", "101%", "-1", "half", "", "1.5", "3 ", "100000"])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a number from 1"):
        RolloutBudget.parse(text)
