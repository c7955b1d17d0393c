"""A plan without an admission and a preemption is kept for some steps, while no admission can become possible."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from vllm.v1.request import RequestStatus

from andante.domain.scheduling.asking import STANDING_STEPS
from andante.domain.scheduling.view import NOBODY, EngineView, Plan, RequestView
from contract.scheduler.stepped_engine import Engine

NOTHING = Plan(admit=NOBODY)


class Asked:
    """A policy that counts how often it is asked for its plan."""

    def __init__(self, plan: Plan | Callable[[RequestView], Plan]) -> None:
        self._plan = plan
        self.times = 0

    def decide(self, requests: RequestView, engine: EngineView) -> Plan:
        self.times += 1
        return self._plan if isinstance(self._plan, Plan) else self._plan(requests)


def crowded(
    plan: Plan | Callable[[RequestView], Plan] = NOTHING, *, prompt: int = 20, streams: int = 1, **size: int
) -> tuple[Engine, Asked]:
    """An engine with streams and then, with a policy of this plan, a waiting request."""
    engine = Engine(**size)
    for _ in range(streams):
        engine.add(prompt=prompt, tokens=300)
    engine.step(2)
    engine.scheduler._policy = policy = Asked(plan)
    engine.add(prompt=400)
    return engine, policy


def test_a_plan_stands_for_a_few_steps() -> None:
    engine, policy = crowded()
    engine.step(1 + STANDING_STEPS)
    assert policy.times == 1
    engine.step()
    assert policy.times == 2


def test_a_policy_may_want_to_be_asked_before_each_step() -> None:
    engine, policy = crowded(NOTHING._replace(standing=False))
    engine.step(5)
    assert policy.times == 5


def test_a_plan_that_stands_is_carried_out_in_each_step() -> None:
    engine, policy = crowded(NOTHING._replace(step_tokens=1), streams=3)
    before = sum(engine.got.values())
    engine.step(5)
    assert policy.times == 1
    assert sum(engine.got.values()) == before + 5


def test_a_plan_whose_admission_was_refused_does_not_stand() -> None:
    engine, policy = crowded(lambda requests: Plan(admit=np.flatnonzero(~requests.running)), kv_blocks=20)
    engine.step(5)
    assert len(engine.scheduler.running) == 1
    assert policy.times == 5


def test_during_a_prefill_no_plan_stands() -> None:
    engine, policy = crowded(prompt=10_000)
    engine.step(3)
    assert policy.times == 3


def leave(engine: Engine, request_id: str) -> None:
    engine.scheduler.finish_requests(request_id, RequestStatus.FINISHED_ABORTED)


CHANGES: dict[str, Callable[[Engine], object]] = {
    "a request comes": lambda engine: engine.add(),
    "a waiting request leaves": lambda engine: leave(engine, "3"),
    "a running request leaves": lambda engine: leave(engine, "1"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_no_plan_outlives_a_change(what: str) -> None:
    engine, policy = crowded(streams=2)
    engine.add()
    engine.step(2)
    CHANGES[what](engine)
    engine.step()
    assert policy.times == 2


def test_a_plan_stands_while_blocks_are_used_and_not_when_some_are_free_again() -> None:
    engine, policy = crowded()
    pool = engine.scheduler.kv_cache_manager.block_pool
    engine.step()
    blocks = pool.get_new_blocks(10)
    engine.step()
    assert policy.times == 1
    engine.step(STANDING_STEPS)  # the next plan is for a pool without these blocks
    assert policy.times == 2
    pool.free_blocks(blocks)
    engine.step()
    assert policy.times == 3
