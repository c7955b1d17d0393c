"""KV in host memory in a simulated replica, in workloads that can be reckoned by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from andante.domain.scheduling.latency import OnlineStepTime
from andante.domain.scheduling.qoe_settings import QoEPolicySettings
from andante.domain.step_time import prefill_pairs
from andante.sim.replica import advance
from andante.sim.run import Outcome, Scheduling, policy_for, simulate
from andante.sim.state import CACHED_SHARE, PREEMPTIONS, State, send_all
from unit.sim_workloads import COEFFICIENTS, engine, requests

OURS = Scheduling(settings=QoEPolicySettings(kv_offload=True))
RIVALS = {"arrival": [0.0, 0.0], "prompt": [16, 16], "output": [144, 144]}
"""Two answers that together outgrow 12 blocks: the second is preempted."""


def outgrown(**changes: Any) -> Outcome:
    return simulate(requests(**RIVALS), engine(blocks=12, **changes), record_times=True)


def gap_of(outcome: Outcome) -> float:
    """The longest stall of the second answer, seconds."""
    assert outcome.token_times is not None
    times = outcome.token_times[1]
    return float((times[1:] - times[:-1]).max())


def test_a_preempted_answer_comes_back_without_being_computed_again() -> None:
    without, with_host = outgrown(), outgrown(host_blocks=100, host_copy=1e-4)
    assert without.all_preemptions == with_host.all_preemptions == 1
    assert without.recomputed_tokens > 2 * 16
    assert with_host.recomputed_tokens < 16  # at most what the last block held, which was not full
    assert with_host.busy < without.busy


def test_a_comeback_from_the_host_says_nothing_of_the_prefix_cache() -> None:
    rivals, with_host = requests(**RIVALS), engine(blocks=12, host_blocks=100, host_copy=1e-4)
    state = State.of(rivals, with_host, record_times=False)
    send_all(state)
    policy, fit = policy_for(rivals, OURS, asked=False), OnlineStepTime(OURS.step_time)
    assert not advance(OURS.decide, rivals, with_host, state, policy, fit.sums, math.inf)
    assert state.counts[PREEMPTIONS] == 1
    assert state.clocks[CACHED_SHARE] == 0.0


def test_a_comeback_waits_for_the_link() -> None:
    """The host has all but the last part of its blocks when the other answer ends; each takes 30 ms to come back."""
    fast, slow = (outgrown(host_blocks=100, host_copy=seconds) for seconds in (1e-6, 0.03))
    assert gap_of(slow) - gap_of(fast) == pytest.approx(5 * 0.03, abs=0.03)


def test_a_step_waits_for_the_copies_that_still_read_its_blocks() -> None:
    """Three blocks of a prompt take 3 s to the host; who gets them after its end waits for that."""
    workload = requests([0.0, 0.001], [48, 48], [1, 1])
    outcome = simulate(workload, engine(blocks=4, max_step_tokens=512, host_blocks=100, host_copy=1.0))
    step = COEFFICIENTS.step_seconds(
        prefill_tokens=48, prefill_pairs=prefill_pairs(tokens=48), decode_seqs=0, context_tokens=0
    )
    assert outcome.first_token[1] == pytest.approx(step + 3.0 + step - 0.001)


def test_what_ended_requests_left_goes_before_what_a_waiting_one_needs() -> None:
    """An answer is preempted by a more urgent one; three urgent prompts in turn then fill the host's memory.

    In vLLM's order the waiting answer's KV is the oldest, and goes first.
    """
    workload = requests(
        [0.0, 0.01, 0.02, 0.03, 0.04], [64, 64, 160, 160, 160], [120, 100, 1, 1, 1], priority=[1, 0, 0, 0, 0]
    )
    small = engine(blocks=12, by_priority=True, host_blocks=24, host_copy=1e-4)
    ours, vllms = simulate(workload, small), simulate(workload, small._replace(host_lru=True))
    assert ours.preemptions.tolist() == vllms.preemptions.tolist() == [1, 0, 0, 0, 0]
    assert ours.recomputed_tokens < 16
    assert vllms.recomputed_tokens > 64


def test_a_request_finds_on_the_host_what_another_one_left() -> None:
    """A prompt of four blocks, then one that takes all of the GPU's memory, then the first prompt again."""
    prompts = requests([0.0, 1.0, 2.0], [64, 120, 64], [1] * 3, source=[-1, -1, 0], shared=[0, 0, 64])
    small = engine(blocks=8, max_step_tokens=512)
    cold = simulate(prompts, small)
    warm = simulate(prompts, small._replace(host_blocks=100, host_copy=1e-4))
    whole, last = (
        COEFFICIENTS.step_seconds(
            prefill_tokens=tokens, prefill_pairs=prefill_pairs(tokens=tokens, offset=64 - tokens), decode_seqs=0,
            context_tokens=0,
        )
        for tokens in (64, 1)
    )  # fmt: skip
    assert cold.busy - warm.busy == pytest.approx(whole - last)


def test_who_leaves_while_their_kv_comes_back_loses_no_block() -> None:
    """The link takes a second for each block: the last reader leaves before the KV is there."""
    workload = requests(
        [0.0, 10.0, 30.0], [64, 120, 64], [1] * 3, source=[-1, -1, 0], shared=[0, 0, 64], patience=[1e9, 1e9, 0.5]
    )
    outcome = simulate(workload, engine(blocks=8, max_step_tokens=512, host_blocks=100, host_copy=1.0))
    assert outcome.left.tolist() == [False, False, True]


def test_the_production_policy_computes_hardly_anything_again() -> None:
    workload = requests([0.05 * i for i in range(24)], [40] * 24, [150 if i % 3 else 20 for i in range(24)], class_of=1)
    small = engine(blocks=30)
    without = simulate(workload, small, Scheduling())
    with_host = simulate(workload, small._replace(host_blocks=200, host_copy=1e-4), OURS)
    assert with_host.all_preemptions > 0
    assert with_host.recomputed_tokens < without.recomputed_tokens / 4
