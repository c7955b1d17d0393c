"""While nothing is short, our scheduler's batches are vLLM's: same requests, same tokens, same order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from benchmarks.scheduling.ours import virtual_qoe_scheduler
from benchmarks.scheduling.virtual_time import VirtualClock, build_scheduler, run_workload
from benchmarks.scheduling.workload import LENGTHS, poisson_workload
from vllm.v1.core.sched.async_scheduler import AsyncScheduler

from andante.domain.pace import PRESETS
from andante.profiles import load_profiles

PROFILE = load_profiles()["llama-3-8b-1xh100"]


def batches(scheduler_class: type[Any], clock: VirtualClock, depth: int) -> list[dict[str, int]]:
    """Tokens of each request in each step."""
    seen: list[dict[str, int]] = []

    class Recording(scheduler_class):  # type: ignore[misc]
        def schedule(self, throttle_prefills: bool = False) -> Any:
            batch = super().schedule(throttle_prefills)
            seen.append(dict(batch.num_scheduled_tokens))
            return batch

    scheduler = build_scheduler(
        Recording, kv_blocks=PROFILE.kv_capacity_blocks, block_size=16, max_num_seqs=256, max_num_batched_tokens=2048,
        async_scheduling=depth > 1,
    )  # fmt: skip
    workload = poisson_workload(rate=4.0, duration=20.0, lengths=LENGTHS["chat"], seed=3)
    run_workload(workload, scheduler=scheduler, clock=clock, profile=PROFILE, depth=depth)
    return seen


@pytest.mark.parametrize("depth", [1, 2], ids=["sync", "async"])
@pytest.mark.parametrize("policy", ["qoe", "andes"])
def test_the_batches_are_stock(policy: str, depth: int) -> None:
    stock = batches(AsyncScheduler, VirtualClock(), depth)
    clock = VirtualClock()
    ours = batches(
        virtual_qoe_scheduler(policy=policy, clock=clock, classes=(PRESETS["reading"],), profile=PROFILE, options={}),
        clock,
        depth,
    )
    assert np.sum([len(batch) for batch in stock]) > 1000
    assert [list(batch.items()) for batch in ours] == [list(batch.items()) for batch in stock]


def test_an_engine_that_has_served_everybody_shows_all_its_steps() -> None:
    clock = VirtualClock()
    scheduler = build_scheduler(
        virtual_qoe_scheduler(policy="qoe", clock=clock, classes=(PRESETS["reading"],), profile=PROFILE, options={}),
        kv_blocks=PROFILE.kv_capacity_blocks, block_size=16, max_num_seqs=256, max_num_batched_tokens=2048,
    )  # fmt: skip
    workload = poisson_workload(rate=4.0, duration=5.0, lengths=LENGTHS["chat"], seed=3)
    run = run_workload(workload, scheduler=scheduler, clock=clock, profile=PROFILE)
    labels = {"model_name": PROFILE.model}
    for name in ("andante_scheduler_step_seconds_count", "andante_scheduler_steps_total"):
        assert scheduler._metrics.registry.get_sample_value(name, labels) == run.steps
