"""Prompts that begin alike: what the prefix cache holds is known before admission, and a step costs what it reads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from benchmarks.scheduling.schedulers import make_scheduler
from benchmarks.scheduling.scoring import score_run
from benchmarks.scheduling.stock import BEST, DEFAULT
from benchmarks.scheduling.virtual_time import VirtualClock, block_hasher, build_scheduler, run_workload
from benchmarks.scheduling.workload import LENGTHS, Workload, poisson_workload
from hypothesis import given, settings
from hypothesis import strategies as st
from vllm.sampling_params import SamplingParams
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.request import Request, RequestStatus

from andante.domain.pace import PRESETS
from andante.profiles import load_profiles
from andante_vllm.prefix_reuse import PrefixCacheLookup

PROFILE = load_profiles()["llama-3-8b-1xh100"]
BLOCK = 16
FAST = (replace(PRESETS["reading"], pace=25.0),)
RATE = 15.4
"""Requests/s: .8 of what stock vLLM completes of them with an endless queue."""


def agents(duration: float) -> Workload:
    """Chats behind a system prompt of 6,000 tokens."""
    return poisson_workload(
        rate=RATE, duration=duration, lengths=LENGTHS["chat"], seed=1, classes=FAST, common_prefix=6_000
    )


def served(name: str, workload: Workload) -> tuple[float, Any]:
    """Mean QoE, and the scheduler as it was at the end."""
    clock = VirtualClock()
    flags = BEST if name == "fcfs" else DEFAULT
    scheduler = make_scheduler(name, profile=PROFILE, clock=clock, classes=FAST, stock=flags)
    scores = score_run(workload, run_workload(workload, scheduler=scheduler, clock=clock, profile=PROFILE))
    assert scores.mean_qoe is not None
    return scores.mean_qoe, scheduler


def test_a_common_prefix_makes_qoe_no_worse_than_stock() -> None:
    workload = agents(30.0)
    stock, _ = served("fcfs", workload)
    ours, scheduler = served("qoe", workload)
    assert ours >= stock - 0.002
    # What a step reads of a shared prefix is read for everybody who shares it.
    true = PROFILE.coefficients.context_token_us * 1e-6
    assert scheduler._step_time.line.context_token == pytest.approx(true, rel=0.25)


def stock_scheduler(blocks: int) -> Any:
    return build_scheduler(Scheduler, kv_blocks=blocks, block_size=BLOCK, max_num_seqs=8, max_num_batched_tokens=4096)


def request(name: str, tokens: list[int], hasher: Any) -> Request:
    return Request(
        request_id=name, prompt_token_ids=tokens, sampling_params=SamplingParams(max_tokens=8), pooling_params=None,
        arrival_time=0.0, block_hasher=hasher,
    )  # fmt: skip


PROMPTS = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 9), st.integers(0, 60), st.booleans()), min_size=1, max_size=12
)
"""Blocks of the common prefix, blocks of one of several second parts, tokens of its own, and whether it then ends."""


@given(PROMPTS)
@settings(max_examples=60, deadline=None)
def test_what_is_looked_up_is_what_vllm_finds(prompts: list[tuple[int, int, int, bool]]) -> None:
    scheduler = stock_scheduler(60)
    hasher = block_hasher(BLOCK)
    lookup = PrefixCacheLookup(scheduler.kv_cache_manager)
    for number, (common, second, own, ends) in enumerate(prompts):
        tokens = [5] * common * BLOCK + [6 + second % 3] * second * BLOCK + [100 + number] * own
        newcomer = request(str(number), tokens or [4], hasher)
        asked = lookup.of_waiting(newcomer)
        found, cached, _ = scheduler.kv_cache_manager.get_computed_blocks(newcomer)
        assert asked.cached == cached
        assert asked.shared == BLOCK * sum(block.ref_cnt > 0 for block in found.blocks[0])
        assert asked == lookup._of_every_block(newcomer)
        free = scheduler.kv_cache_manager.block_pool.get_num_free_blocks()
        scheduler.add_request(newcomer)
        scheduler.schedule()
        if newcomer in scheduler.running:
            taken = -(-newcomer.num_computed_tokens // BLOCK) - asked.shared // BLOCK
            assert free - scheduler.kv_cache_manager.block_pool.get_num_free_blocks() == taken
            given_back = -(-newcomer.num_computed_tokens // BLOCK) - lookup.of_running(newcomer) // BLOCK
            if ends:
                before = scheduler.kv_cache_manager.block_pool.get_num_free_blocks()
                scheduler.finish_requests(newcomer.request_id, RequestStatus.FINISHED_ABORTED)
                assert scheduler.kv_cache_manager.block_pool.get_num_free_blocks() - before == given_back
        else:
            break


def test_of_what_is_found_the_last_block_is_computed_again_for_a_drafter_that_reads_hidden_states() -> None:
    scheduler = build_scheduler(
        Scheduler, kv_blocks=60, block_size=BLOCK, max_num_seqs=8, max_num_batched_tokens=4096,
        draft_tokens=2, draft_method="eagle",
    )  # fmt: skip
    hasher = block_hasher(BLOCK)
    lookup = PrefixCacheLookup(scheduler.kv_cache_manager)
    scheduler.add_request(request("first", [5] * 100, hasher))
    scheduler.schedule()
    for tokens in (100, 40, 20, 3):
        newcomer = request(f"{tokens} tokens", [5] * tokens, hasher)
        asked = lookup.of_waiting(newcomer)
        assert asked.cached == scheduler.kv_cache_manager.get_computed_blocks(newcomer)[1]
        assert asked == lookup._of_every_block(newcomer)
    assert lookup.of_waiting(request("last", [5] * 100, hasher)) == (80, 80)


def test_a_request_that_may_not_read_the_cache_finds_nothing_in_it() -> None:
    scheduler = stock_scheduler(60)
    hasher = block_hasher(BLOCK)
    scheduler.add_request(request("first", [5] * 100, hasher))
    scheduler.schedule()
    lookup = PrefixCacheLookup(scheduler.kv_cache_manager)
    wants_logprobs = Request(
        request_id="second", prompt_token_ids=[5] * 100, sampling_params=SamplingParams(prompt_logprobs=1),
        pooling_params=None, arrival_time=0.0, block_hasher=hasher,
    )  # fmt: skip
    assert lookup.of_waiting(request("third", [5] * 100, hasher)) == (96, 96)
    assert lookup.of_waiting(wants_logprobs) == (0, 0)
