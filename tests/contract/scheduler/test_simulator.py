"""The simulator against vLLM's own scheduler classes: the same tokens at the same times, to the last digit but one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from benchmarks.scheduling.schedulers import make_scheduler
from benchmarks.scheduling.stock import StockFlags
from benchmarks.scheduling.virtual_time import Run, VirtualClock, run_workload
from benchmarks.scheduling.workload import LENGTHS, MAX_MODEL_LEN, Workload, poisson_workload, with_patience

from andante.domain.pace import PRESETS
from andante.domain.scheduling.qoe_settings import QoEPolicySettings
from andante.domain.step_time import LinearStepTime
from andante.profiles import load_profiles
from andante.sim.engine import Engine
from andante.sim.requests import Requests
from andante.sim.run import Outcome, Scheduling, simulate
from andante_vllm.host_kv_cache import too_small
from andante_vllm.virtual_host_link import HOST_LINK_BYTES_PER_SECOND, VirtualHostLink

SMALL = replace(load_profiles()["opt-66b-4xa100-estimate"], kv_capacity_tokens=6_000)
"""The paper's engine with memory for a dozen answers, so that it runs out at once."""
MIXED: dict[str, Any] = {
    "classes": (PRESETS["reading"], PRESETS["chat-interactive"], PRESETS["batch"]),
    "shares": (0.5, 0.25, 0.25),
}


def simulated(
    workload: Workload, scheduler: str, stock: StockFlags, prefix_caching: bool, host_gib: float = 0.0
) -> Outcome:
    first = np.arange(workload.requests) == 0
    requests = Requests.of(
        arrival=workload.arrival,
        prompt_tokens=workload.prompt_tokens,
        output_tokens=workload.output_tokens,
        classes=workload.classes,
        class_of=workload.class_of,
        most_tokens=MAX_MODEL_LEN,
        patience=np.inf if workload.patience is None else workload.patience,
        priority=[-round(workload.classes[k].pace * 100) for k in workload.class_of],
        source=np.where(first | (workload.common_prefix == 0), -1, 0),
        shared=np.where(first, 0, workload.common_prefix),
    )
    engine = Engine.of(
        SMALL,
        watermark=stock.watermark,
        long_prefill=stock.long_prefill,
        prefix_caching=prefix_caching,
        by_priority=scheduler == "priority",
        host_bytes=host_gib * 2**30,
        host_link=SMALL.tensor_parallel * HOST_LINK_BYTES_PER_SECOND,
    )
    settings = QoEPolicySettings(kv_offload=not too_small(engine.host_blocks, engine.blocks))
    ours = Scheduling(step_time=LinearStepTime.from_profile(SMALL.coefficients), settings=settings)
    return simulate(requests, engine, ours if scheduler == "qoe" else None, record_times=True)


@pytest.mark.parametrize(
    ("scheduler", "stock", "prefix_caching", "what", "patience"),
    [
        ("fcfs", StockFlags(), False, {}, None),
        ("fcfs", StockFlags(watermark=0.05, long_prefill=128), True, {}, 5.0),
        ("priority", StockFlags(), True, MIXED, None),
        ("qoe", StockFlags(), True, {}, None),
        ("qoe", StockFlags(), True, MIXED, 5.0),
        ("qoe", StockFlags(), True, {"common_prefix": 200}, None),
    ],
)
def test_the_same_tokens_at_the_same_times(
    scheduler: str, stock: StockFlags, prefix_caching: bool, what: dict[str, Any], patience: float | None
) -> None:
    workload = poisson_workload(rate=3.0, duration=20.0, lengths=LENGTHS["chat"], seed=3, **what)
    if patience is not None:
        workload = with_patience(workload, mean=patience, seed=3)
    clock = VirtualClock()
    vllms = make_scheduler(
        scheduler, profile=SMALL, clock=clock, classes=workload.classes, stock=stock, prefix_caching=prefix_caching
    )
    run = run_workload(workload, scheduler=vllms, clock=clock, profile=SMALL, prefix_caching=prefix_caching)
    outcome = simulated(workload, scheduler, stock, prefix_caching)
    assert run.preemptions > 0
    same(run, outcome, workload)


@pytest.mark.parametrize(
    ("scheduler", "host_gib", "what", "patience"),
    [
        ("fcfs", 40.0, {}, None),
        ("qoe", 20.0, {}, None),
        ("qoe", 6.0, {}, None),
        ("qoe", 12.0, MIXED, 5.0),
        ("qoe", 60.0, MIXED, 5.0),
        ("qoe", 20.0, {"common_prefix": 200}, None),
        ("priority", 30.0, MIXED, 5.0),
    ],
)
def test_with_host_memory_the_same_tokens_at_the_same_times(
    scheduler: str, host_gib: float, what: dict[str, Any], patience: float | None
) -> None:
    """Host memory so small that it gives up what is needed, beside a GPU memory of 13 GiB."""
    workload = poisson_workload(rate=3.0, duration=20.0, lengths=LENGTHS["chat"], seed=3, **what)
    if patience is not None:
        workload = with_patience(workload, mean=patience, seed=3)
    clock, link = VirtualClock(), VirtualHostLink.of(SMALL, block_size=SMALL.block_size)
    blocks = link.blocks_in(host_gib * 2**30)
    vllms = make_scheduler(scheduler, profile=SMALL, clock=clock, classes=workload.classes, offloaded_blocks=blocks)
    run = run_workload(workload, scheduler=vllms, clock=clock, profile=SMALL, link=link)
    assert run.preemptions > 0
    same(run, simulated(workload, scheduler, StockFlags(), True, host_gib), workload)


def same(run: Run, outcome: Outcome, workload: Workload) -> None:
    assert outcome.all_preemptions == run.preemptions
    assert outcome.recomputed_tokens == run.recomputed_tokens
    assert outcome.steps == run.steps
    assert outcome.token_times is not None
    for ours, theirs in zip(outcome.token_times, run.delivery, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-9)
    assert np.where(outcome.left, outcome.finish - workload.arrival, np.nan) == pytest.approx(run.left, nan_ok=True)
