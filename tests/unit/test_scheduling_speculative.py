"""What several tokens a step change in the decisions, and that one token a step changes nothing."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andante.domain.scheduling.andes_policy import AndesPolicy
from andante.domain.scheduling.qoe_policy import QoEPolicy
from andante.domain.scheduling.qoe_settings import QoEPolicySettings
from andante.domain.scheduling.tokens_per_step import TokensPerStep
from andante.domain.scheduling.view import EngineView, RequestView, SchedulingPolicy
from andante.domain.step_time import LinearStepTime
from unit.scheduling_views import STEP_TIME, engine, requests, tokens_of

FAST = 25.0
"""A pace, tokens/s, that an engine of these tests misses with one token a step."""
SLOW_STEPS = LinearStepTime(base=0.05, prefill_token=1e-4, sequence=1.5e-4, context_token=3e-7)


def fast_readers(count: int, **columns: object) -> RequestView:
    return requests(count, seconds_per_token=1 / FAST, **columns)


@pytest.mark.parametrize("policy", [QoEPolicy, AndesPolicy])
def test_a_pace_that_several_tokens_a_step_keep_is_no_shortage(policy: type[QoEPolicy] | type[AndesPolicy]) -> None:
    view = fast_readers(12, running=[True] * 10 + [False] * 2, delivered=[50.0] * 10 + [0.0] * 2, elapsed=3.0)

    def decide(tokens: float) -> object:
        return policy().decide(view, engine(step_time=SLOW_STEPS, tightest_pace=FAST, tokens_per_step=tokens))

    assert decide(1.0) is not None
    assert decide(2.5) is None


def test_prefill_takes_what_several_tokens_a_step_leave() -> None:
    view = requests(2, running=[True, False], context=[500.0, 3000.0], elapsed=[1.0, 0.0])

    def chunk(tokens: float) -> int:
        plan = QoEPolicy().decide(view, engine(tokens_per_step=tokens, max_step_tokens=8192))
        assert plan is not None
        assert plan.step_tokens is not None
        return plan.step_tokens

    assert chunk(1.5) - chunk(1.0) == pytest.approx(0.5 / 4.8 / STEP_TIME.prefill_token, abs=2)


@pytest.mark.parametrize(("slots", "admitted"), [(0, 3), (8, 2)])
@pytest.mark.parametrize("policy", [QoEPolicy, AndesPolicy])
def test_drafts_take_room_in_memory(policy: type[QoEPolicy] | type[AndesPolicy], slots: int, admitted: int) -> None:
    """Contexts that fill their blocks but for a few tokens."""
    view = requests(40, context=155.0)
    plan = policy().decide(view, engine(kv_capacity=490.0, kv_free=490.0, max_seqs=4, draft_slots=slots))
    assert plan is not None
    assert plan.admit.size == admitted
    assert tokens_of(view, plan.admit.tolist()) <= 490


def any_view(source: np.random.Generator) -> tuple[RequestView, EngineView]:
    count = int(source.integers(1, 80))
    running = source.random(count) < 0.6
    view = requests(
        count,
        running=running,
        elapsed=source.exponential(20, count),
        expected_ttft=np.where(source.random(count) < 0.1, np.inf, 1.0),
        seconds_per_token=1 / source.choice([4.8, FAST], count),
        delivered=np.floor(np.where(running, source.exponential(100, count), 0)),
        lag=source.exponential(0.5, count) * (source.random(count) < 0.5),
        context=np.floor(source.exponential(600, count)) + 1,
        remaining=source.exponential(150, count) + 1,
        preemptions=source.integers(0, 3, count).astype(float),
        prefilling=(source.random(count) < 0.1) & running,
    )
    blocks = int(source.integers(125, 2500))
    return view, engine(
        kv_capacity=16 * blocks,
        kv_free=16 * int(blocks * source.random()),
        max_seqs=int(source.integers(4, 100)),
        tightest_pace=source.choice([0.0, 4.8, FAST]),
        unfinished_prefill=float(source.integers(0, 3000)),
        max_step_tokens=int(source.choice([512, 2048, 8192])),
    )


@pytest.mark.parametrize(
    ("policy", "digest"),
    [
        (QoEPolicy(), "a148db55a0d4a985"),
        (QoEPolicy(QoEPolicySettings(kv_offload=True)), "30edb49ac4ab2ebf"),
        (AndesPolicy(), "f5d09b8e03138495"),
    ],
    ids=["qoe", "qoe with host memory", "andes"],
)
def test_without_draft_tokens_the_decisions_are_these(policy: SchedulingPolicy, digest: str) -> None:
    """Whoever changes a policy on purpose writes the new digest."""
    found = hashlib.sha256()
    for seed in range(300):
        view, at = any_view(np.random.default_rng(seed))
        plan = policy.decide(view, at._replace(now=float(seed)))
        if plan is not None:
            found.update(repr([plan.admit.tolist(), plan.preempt.tolist(), plan.victims.tolist()]).encode())
            found.update(repr(plan.step_tokens).encode())
    assert found.hexdigest()[:16] == digest


@given(st.lists(st.tuples(st.integers(1, 300), st.floats(0, 5)), max_size=300))
def test_the_tokens_of_a_step_stay_between_one_and_the_most_that_were_seen(steps: list[tuple[int, float]]) -> None:
    learned = TokensPerStep()
    for sequences, each in steps:
        learned.observe(sequences=sequences, held=sequences * each)
    assert 1 <= learned.mean <= 1 + max((each for _, each in steps), default=0) + 1e-9


def test_the_tokens_of_a_step_are_learned_and_forgotten() -> None:
    learned = TokensPerStep()
    assert learned.mean == 1.0
    for _ in range(1000):
        learned.observe(sequences=10, held=15)
    assert learned.mean == pytest.approx(2.5, abs=0.01)
    for _ in range(1500):
        learned.observe(sequences=10, held=2)
    assert learned.mean == pytest.approx(1.2, abs=0.01)


def test_a_sequence_costs_what_its_draft_tokens_cost() -> None:
    line = STEP_TIME.with_drafts(3)
    plain = STEP_TIME.seconds(prefill_tokens=30, sequences=10, context_tokens=500)
    assert line.seconds(prefill_tokens=0, sequences=10, context_tokens=500) == pytest.approx(plain)
    assert STEP_TIME.with_drafts(0) == STEP_TIME
