"""When the policy `qoe` lets a request come back that was preempted."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andante.domain.scheduling.qoe_policy import QoEPolicy
from andante.domain.scheduling.qoe_settings import QoEPolicySettings
from andante.domain.scheduling.view import RequestView
from unit.scheduling_views import engine, requests

BUSY = 3000.0
"""Free KV tokens of 20,000: room for a comeback, but not a calm engine."""
CALM = 4500.0


def after_a_rush(**settings: Any) -> QoEPolicy:
    """A policy that has left many short new requests out for a minute, until second 60."""
    policy = QoEPolicy(QoEPolicySettings(**settings))
    view = requests(
        41, running=[True] + 40 * [False], context=[17_000.0] + 40 * [150.0], prefilling=[True] + 40 * [False]
    )
    for step in range(120):
        plan = policy.decide(view, engine(now=step / 2, kv_free=BUSY))
        assert plan is not None
        assert plan.admit.size < 40
    return policy


def preempted(**columns: Any) -> RequestView:
    """A stream that runs, and a long answer that was preempted."""
    values: dict[str, Any] = {
        "running": [True, False], "context": [15_000.0, 2000.0], "delivered": [500.0, 1500.0],
        "elapsed": [100.0, 320.0], "preemptions": [0.0, 1.0], "remaining": [3000.0, 1500.0],
    } | columns  # fmt: skip
    return requests(2, **values)


def comes(policy: QoEPolicy, view: RequestView, **fields: Any) -> bool:
    """Whether request 1, the only one that waits, may start."""
    plan = policy.decide(view, engine(**{"now": 60.0, "kv_free": BUSY} | fields))
    return plan is None or 1 in plan.admit


def test_whoever_was_preempted_does_not_come_back_into_a_short_pause() -> None:
    assert not comes(after_a_rush(), preempted())


def test_whoever_was_preempted_comes_back_into_a_calm_engine() -> None:
    assert comes(after_a_rush(), preempted(), kv_free=CALM)


def test_whoever_was_preempted_comes_back_where_nobody_had_to_wait() -> None:
    assert comes(QoEPolicy(), preempted())


def test_whoever_is_worth_the_going_price_comes_back_at_once() -> None:
    assert comes(after_a_rush(), preempted(context=[15_000.0, 150.0], remaining=[3000.0, 5.0], elapsed=[100.0, 315.0]))


def test_whoever_was_preempted_comes_back_where_nobody_runs() -> None:
    assert comes(after_a_rush(), preempted(running=False))


@pytest.mark.parametrize(
    "columns", [{"preemptions": 0.0}, {"delivered": [500.0, 0.0], "elapsed": [100.0, 2.0]}],
    ids=["never preempted", "no token yet"],
)  # fmt: skip
def test_only_a_preempted_answer_is_held_back(columns: dict[str, Any]) -> None:
    assert comes(after_a_rush(), preempted(**columns))


def test_the_ageing_shares_request_is_not_held_back() -> None:
    assert comes(after_a_rush(ageing_share=0.01), preempted())


@pytest.mark.parametrize(("kept", "back"), [(900.0, False), (1100.0, True)])
def test_whoever_has_half_of_their_kv_on_the_host_is_not_held_back(kept: float, back: bool) -> None:
    policy = after_a_rush(kv_offload=True)
    assert comes(policy, preempted(kept=[0.0, kept])) == back


@pytest.mark.parametrize("objective", ["mean", "maxmin", "perfect"])
@given(
    kind=st.sampled_from(["reading", "batch", "agent"]),
    remaining=st.floats(1, 10_000),
    elapsed=st.floats(0, 3600),
    delivered=st.integers(1, 1900),
    weight=st.sampled_from([0.001, 1.0, 1000.0]),
    kv_offload=st.booleans(),
)
def test_one_very_long_prompt_shuts_nobody_out_for_ever(
    objective: Any, kind: str, remaining: float, elapsed: float, delivered: int, weight: float, kv_offload: bool
) -> None:
    """The engine never becomes calm: a prompt of 15,000 tokens holds the KV, and its answer does not end."""
    policy = after_a_rush(objective=objective, kv_offload=kv_offload)
    expected = {
        "reading": {},
        "batch": {"expected_ttft": float("inf"), "seconds_per_token": 0.0},
        "agent": {"expected_ttft": float("inf"), "seconds_per_token": 0.0, "deadline": 30.0},
    }[kind]
    for passed in range(0, 1200, 10):
        view = preempted(
            remaining=[3000.0, remaining], elapsed=[100.0 + passed, elapsed + passed], weight=[1.0, weight],
            delivered=[500.0, float(delivered)], **expected,
        )  # fmt: skip
        if comes(policy, view, now=60.0 + passed):
            return
    pytest.fail("it never came back")
