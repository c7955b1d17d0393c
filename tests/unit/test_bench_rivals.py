"""The simple orders of service beside `qoe` in the benchmarks."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.scheduling.rivals import RIVALS, RivalPolicy
from hypothesis import given, settings
from hypothesis import strategies as st

from andante.domain.scheduling.plan_check import check_plan
from andante.domain.scheduling.qoe_settings import QoEPolicySettings
from andante.domain.scheduling.view import EngineView, Plan, RequestView
from unit.scheduling_views import engine, requests, tokens_of

FULL = {"kv_capacity": 10_000.0, "kv_free": 1_000.0}
"""After the headroom of 2 % there is room for 800 tokens."""


def plan(name: str, view: RequestView, resources: EngineView) -> Plan:
    chosen = RivalPolicy(name).decide(view, resources)
    assert chosen is not None
    check_plan(chosen, view)
    return chosen


def test_shortest_first_takes_the_least_work_first() -> None:
    view = requests(3, context=[300.0, 300.0, 100.0], remaining=[200.0, 100.0, 250.0])
    assert plan("shortest", view, engine(**FULL)).admit.tolist() == [2, 1, 0]


def test_the_earliest_deadline_goes_first_and_the_hopeless_last_newest_first() -> None:
    view = requests(4, elapsed=[30.0, 20.0, 0.5, 0.9], running=False)
    assert plan("edf", view, engine(**FULL)).admit.tolist()[:3] == [3, 2, 1]


def test_who_is_next_to_run_dry_goes_before_who_is_new() -> None:
    """A preempted stream whose next token is due now, and a new request that is due in half a second."""
    view = requests(2, elapsed=[21.0, 0.5], delivered=[96.0, 0.0])
    assert plan("edf", view, engine(**FULL)).admit.tolist() == [0, 1]


@pytest.mark.parametrize(("delivered", "taken_off"), [(31.0, []), (127.0, []), (128.0, [0]), (900.0, [0])])
def test_least_attained_service_takes_off_who_is_two_levels_above(delivered: float, taken_off: list[int]) -> None:
    view = requests(2, running=[True, False], delivered=[delivered, 0.0], context=[1_000.0, 500.0])
    chosen = plan("las", view, engine(kv_capacity=10_000.0, kv_free=300.0))
    assert chosen.preempt.tolist() == taken_off
    assert chosen.admit.tolist() == ([1] if taken_off else [])


def test_nobody_is_taken_off_for_a_prompt_that_the_prefill_limit_keeps_out() -> None:
    view = requests(2, running=[True, False], delivered=[900.0, 0.0], context=[1_000.0, 500.0])
    busy = engine(kv_capacity=10_000.0, kv_free=300.0, unfinished_prefill=1e6)
    chosen = plan("las", view, busy)
    assert chosen.preempt.size == chosen.admit.size == 0


@pytest.mark.parametrize("name", RIVALS)
def test_an_idle_engine_tries_even_a_prompt_that_never_fits(name: str) -> None:
    view = requests(1, context=50_000.0)
    assert plan(name, view, engine(kv_capacity=10_000.0, kv_free=10_000.0)).admit.tolist() == [0]


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(RIVALS)),
    rows=st.lists(
        st.tuples(
            st.booleans(), st.integers(1, 3_000), st.integers(0, 2_000), st.floats(0, 100), st.floats(1, 2_000)
        ),
        min_size=1, max_size=40,
    ),
    free=st.floats(0, 1),
    slots=st.integers(1, 50),
)  # fmt: skip
def test_every_rival_keeps_the_headroom_the_slots_and_the_prefill_limit(
    name: str, rows: list[tuple[bool, int, int, float, float]], free: float, slots: int
) -> None:
    running, context, delivered, elapsed, remaining = (np.array(column) for column in zip(*rows, strict=True))
    view = requests(
        len(rows), running=running, context=context.astype(float), delivered=delivered.astype(float),
        elapsed=elapsed, remaining=remaining,
    )  # fmt: skip
    seats = max(slots, int(running.sum()))
    resources = engine(kv_capacity=20_000.0, kv_free=20_000.0 * free, max_seqs=seats)
    chosen = plan(name, view, resources)
    limits = QoEPolicySettings()
    if not running.any() and chosen.admit.size <= 1:
        return  # an idle engine tries the first in any case
    freed = tokens_of(view, chosen.preempt.tolist())
    room = resources.kv_free + freed - limits.kv_headroom * resources.kv_capacity
    assert chosen.admit.size == 0 or tokens_of(view, chosen.admit.tolist()) <= room
    assert int(running.sum()) - chosen.preempt.size + chosen.admit.size <= seats
    prompts = view.context[chosen.admit].sum() * resources.step_time.prefill_token
    assert chosen.admit.size <= 1 or prompts <= limits.prefill_cap
