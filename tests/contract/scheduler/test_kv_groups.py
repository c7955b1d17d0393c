"""Models with several kinds of attention: each takes blocks of its own, and the policy reckons with all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from benchmarks.scheduling.ours import virtual_qoe_scheduler
from benchmarks.scheduling.virtual_time import VirtualClock, block_hasher, build_scheduler, run_workload
from benchmarks.scheduling.workload import LENGTHS, poisson_workload
from hypothesis import given, settings
from hypothesis import strategies as st
from vllm.sampling_params import SamplingParams
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.kv_cache_interface import ChunkedLocalAttentionSpec, KVCacheSpec, MambaSpec, SlidingWindowSpec
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request

from andante.domain.pace import PRESETS
from andante.domain.scheduling.kv_groups import kv_held, kv_to_start
from andante.profiles import load_profiles
from andante_vllm.kv_groups import kv_groups

PROFILE = load_profiles()["llama-3-8b-1xh100"]
BLOCK = 16
LAYERS: dict[str, Any] = {"block_size": BLOCK, "num_kv_heads": 1, "head_size": 1, "dtype": torch.float32}
WINDOW = SlidingWindowSpec(sliding_window=4 * BLOCK, **LAYERS)
STATE = MambaSpec(block_size=BLOCK, shapes=((8,),), dtypes=(torch.float32,), mamba_cache_mode="align")
MODELS: dict[str, Sequence[KVCacheSpec]] = {
    "full": (),
    "two windows": (WINDOW, WINDOW),
    "two widths": (WINDOW, SlidingWindowSpec(sliding_window=100, **LAYERS)),
    "chunks": (ChunkedLocalAttentionSpec(attention_chunk_size=3 * BLOCK, **LAYERS),),
    "recurrent": (STATE, STATE),
}


class Engine:
    """vLLM's own scheduler and managers for one request, with a stand-in runner."""

    def __init__(self, model: str, *, step_tokens: int) -> None:
        self.scheduler = build_scheduler(
            Scheduler, kv_blocks=400, block_size=BLOCK, max_num_seqs=4, max_num_batched_tokens=step_tokens,
            more_groups=MODELS[model],
        )  # fmt: skip
        self.pool = self.scheduler.kv_cache_manager.block_pool

    def start(self, prompt: int) -> Request:
        request = Request(
            request_id="a", prompt_token_ids=[5] * prompt, pooling_params=None, arrival_time=0.0,
            sampling_params=SamplingParams(max_tokens=1000, ignore_eos=True), block_hasher=block_hasher(BLOCK),
        )  # fmt: skip
        self.scheduler.add_request(request)
        return request

    def step(self) -> int:
        """Blocks that are taken after it."""
        batch = self.scheduler.schedule()
        ids = list(batch.num_scheduled_tokens)
        sampled = [[] if self.scheduler.requests[i].is_prefill_chunk else [7] for i in ids]
        output = ModelRunnerOutput(ids, {name: place for place, name in enumerate(ids)}, sampled)
        self.scheduler.update_from_output(batch, output)
        return 400 - int(self.pool.get_num_free_blocks())


@pytest.mark.parametrize("model", MODELS)
@given(prompt=st.integers(1, 300), step_tokens=st.sampled_from([64, 512]), answer=st.integers(0, 150))
@settings(max_examples=25, deadline=None)
def test_what_is_reckoned_is_what_vllm_takes(model: str, prompt: int, step_tokens: int, answer: int) -> None:
    engine = Engine(model, step_tokens=step_tokens)
    groups = kv_groups(engine.scheduler)
    request = engine.start(prompt)
    most = engine.step()
    while request.num_output_tokens == 0:
        most = max(most, engine.step())
    whole = kv_to_start(prompt, 0.0, BLOCK, groups) / BLOCK
    assert most <= whole
    if step_tokens >= prompt:  # vLLM's bound allows for steps that are all this request's
        assert whole - most <= 2 * len(groups)
    held = most
    for _ in range(answer):
        held = engine.step()
    reckoned = kv_held(float(request.num_tokens), groups) / BLOCK
    if answer:
        assert abs(held - reckoned) <= 2 * len(groups)


def preemptions_out_of_blocks(more_groups: Sequence[KVCacheSpec], *, kv_blocks: int) -> int:
    """How often blocks ran out under requests that the policy had let in."""
    classes = (PRESETS["reading"],)
    workload = poisson_workload(rate=20.0, duration=12.0, lengths=LENGTHS["chat"], seed=1, classes=classes)
    clock = VirtualClock()
    scheduler = build_scheduler(
        virtual_qoe_scheduler(policy="qoe", clock=clock, classes=classes, profile=PROFILE, options={}),
        kv_blocks=kv_blocks, block_size=BLOCK, max_num_seqs=256, max_num_batched_tokens=2048, more_groups=more_groups,
    )  # fmt: skip
    run_workload(workload, scheduler=scheduler, clock=clock, profile=PROFILE)
    assert scheduler._policy is not None
    return int(scheduler._metrics.out_of_blocks_preemptions._value.get())


def test_blocks_run_out_no_oftener_with_three_kinds_of_attention_on_three_times_the_blocks() -> None:
    wide = SlidingWindowSpec(sliding_window=1024, **LAYERS)
    assert preemptions_out_of_blocks([wide, wide], kv_blocks=2100) <= 1.2 * preemptions_out_of_blocks([], kv_blocks=700)
