"""How the policy `qoe` gathers prefill into fewer steps where the host keeps KV."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andante.domain.scheduling.qoe_policy import QoEPolicy
from andante.domain.scheduling.qoe_settings import QoEPolicySettings
from andante.domain.scheduling.view import EngineView, Plan, RequestView
from unit.scheduling_views import STEP_TIME, engine, requests
from unit.test_scheduling_qoe_policy import crowded

STEP = STEP_TIME.seconds(prefill_tokens=0, sequences=1, context_tokens=15_000)
ROOM = engine(kv_free=3000.0)


def one_of_two(elapsed: float = 0.1, late: float = 0.1) -> RequestView:
    """A stream, and two requests of which one fits: `elapsed` and `late` seconds ago."""
    return requests(3, running=[True, False, False], context=[15_000.0, 1500.0, 2500.0], elapsed=[1.0, elapsed, late])


def ask(policy: QoEPolicy, now: float, view: RequestView, room: EngineView = ROOM) -> Plan:
    plan = policy.decide(view, room._replace(now=now))
    assert plan is not None
    return plan


def after_prefill(*, kv_offload: bool = True) -> tuple[QoEPolicy, float]:
    """A policy that has just admitted a request, and the time at the end of this step."""
    policy = QoEPolicy(QoEPolicySettings(kv_offload=kv_offload, preemption=False))
    assert ask(policy, 0.0, one_of_two()).admit.tolist() == [1]
    return policy, STEP + 1500 * STEP_TIME.prefill_token


def test_three_steps_after_prefill_admit_no_request() -> None:
    policy, now = after_prefill()
    admitted = [ask(policy, now + step * STEP, one_of_two()).admit.size for step in range(5)]
    assert admitted[:4] == [0, 0, 0, 1]


def test_a_plan_that_gathers_is_made_anew_before_the_next_step() -> None:
    policy, now = after_prefill()
    assert not ask(policy, now, one_of_two()).standing
    assert ask(policy, now + 4 * STEP, one_of_two()).standing


def test_a_new_request_that_is_due_is_admitted_at_once() -> None:
    policy, now = after_prefill()
    assert ask(policy, now, one_of_two(elapsed=0.7, late=0.7)).admit.size == 1


def test_a_request_that_comes_back_waits_for_gathered_prefill() -> None:
    policy, now = after_prefill()
    view = requests(
        3, running=[True, False, False], context=[15_000.0, 1500.0, 2500.0], kept=[0.0, 1500.0, 2500.0],
        elapsed=[1.0, 300.0, 300.0], delivered=[0.0, 100.0, 100.0], preemptions=[0.0, 1.0, 1.0],
    )  # fmt: skip
    assert ask(policy, now, view).admit.size == 0


def test_a_step_that_has_prefill_anyway_takes_more() -> None:
    policy, now = after_prefill()
    assert ask(policy, now, one_of_two(), ROOM._replace(unfinished_prefill=100.0)).admit.size == 1


def test_without_host_memory_prefill_is_not_gathered() -> None:
    policy, now = after_prefill(kv_offload=False)
    assert ask(policy, now, one_of_two()).admit.size == 1


@pytest.mark.parametrize("taken_off", [True, False])
def test_no_stream_is_preempted_for_a_request_that_waits_for_gathered_prefill(taken_off: bool) -> None:
    view = requests(
        2, running=[True, False], context=[1500.0, 100.0], remaining=[2000.0, 20.0], delivered=[1400.0, 0.0],
        elapsed=[60.0, 0.5], kept=[1500.0, 0.0],
    )  # fmt: skip
    room = engine(kv_capacity=1600, kv_free=64)
    policy = QoEPolicy(QoEPolicySettings(kv_offload=True))
    if not taken_off:
        one = requests(2, running=[True, False], context=[100.0, 1000.0], elapsed=0.1)
        policy.decide(one, engine(kv_capacity=1600, kv_free=1400))
    plan = policy.decide(view, room._replace(now=0.15))
    assert plan is not None
    assert plan.preempt.size == taken_off


@given(crowded(), st.floats(0, 1))
def test_no_plan_waits_for_longer_than_a_few_steps(world: tuple[RequestView, EngineView], passed: float) -> None:
    """Whatever was admitted before, a few steps after it the plan is the one of a policy that never gathers."""
    view, room = world
    room = room._replace(now=min(room.now, 1e6))
    gathers = QoEPolicy(QoEPolicySettings(kv_offload=True))
    never = QoEPolicy(QoEPolicySettings(kv_offload=True, gathered_steps=0.0))
    for policy in (gathers, never):
        policy.decide(view, room)
    prefill = room.unfinished_prefill + float((view.context - view.kept).sum())
    longest = room.step_time.seconds(prefill_tokens=prefill, sequences=60, context_tokens=float(view.context.sum()))
    later = room._replace(now=room.now + 5 * longest + passed)
    plans = [policy.decide(view, later) for policy in (gathers, never)]
    if plans[0] is not None and plans[1] is not None:
        assert plans[0].standing
        np.testing.assert_array_equal(plans[0].admit, plans[1].admit)
