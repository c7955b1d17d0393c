"""The compiled model of vLLM's step loop as the benchmarks use it: token for token what vLLM's classes give."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from benchmarks.scheduling.model_runs import run_model
from benchmarks.scheduling.schedulers import make_scheduler
from benchmarks.scheduling.sessions import session_workload
from benchmarks.scheduling.stock import BEST, DEFAULT, StockFlags
from benchmarks.scheduling.virtual_time import VirtualClock, run_workload
from benchmarks.scheduling.workload import LENGTHS, Workload, endless_queue, poisson_workload, with_patience

from andante.domain.pace import PRESETS
from andante.profiles import load_profiles

SMALL = replace(load_profiles()["opt-66b-4xa100-estimate"], kv_capacity_tokens=8_000)
CHAT = LENGTHS["chat"]
QUEUE = with_patience(endless_queue(requests=60, lengths=CHAT, seed=1), mean=20.0, seed=1)


def same(name: str, workload: Workload, stock: StockFlags = DEFAULT) -> None:
    clock = VirtualClock()
    scheduler = make_scheduler(name, profile=SMALL, clock=clock, classes=workload.classes, stock=stock)
    real = run_workload(workload, scheduler=scheduler, clock=clock, profile=SMALL)
    model = run_model(workload, scheduler=name, profile=SMALL, stock=stock, options={})
    for ours, theirs in zip(model.delivery, real.delivery, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-6)
    assert model.left == pytest.approx(real.left, abs=1e-6, nan_ok=True)
    assert (model.preemptions, model.recomputed_tokens) == (real.preemptions, real.recomputed_tokens)


@pytest.mark.parametrize("name", ["shortest", "las", "edf", "andes"])
def test_a_rival_is_the_same_in_both(name: str) -> None:
    same(name, QUEUE)


@pytest.mark.parametrize(
    "stock", [BEST, StockFlags(max_num_seqs=8), StockFlags(max_num_batched_tokens=512, long_prefill=256)]
)
def test_vllms_flags_are_the_same_in_both(stock: StockFlags) -> None:
    same("fcfs", QUEUE, stock)


def test_sessions_share_the_same_in_both() -> None:
    same("qoe", session_workload(rate=1.0, duration=30.0, lengths=CHAT, seed=1, qoe_class=PRESETS["reading"]))


def test_a_common_prefix_is_the_same_in_both() -> None:
    same("qoe", poisson_workload(rate=2.0, duration=20.0, lengths=CHAT, seed=1, common_prefix=1_500))


def test_chunks_are_the_same_in_both() -> None:
    """Two prompts of one document and one of another."""
    workload = Workload(
        arrival=np.array([0.0, 4.0, 4.0]), prompt_tokens=np.array([1_500, 1_200, 1_500]),
        output_tokens=np.array([20, 20, 20]), class_of=np.zeros(3, dtype=np.int64), classes=(PRESETS["reading"],),
        duration=5.0, chunks=((0, 1, 2), (0, 1, 3), (4, 5, 6)),
    )  # fmt: skip
    same("fcfs", workload)
    cold = replace(workload, chunks=((0, 1, 2), (7, 8, 3), (4, 5, 6)))
    times = [
        run_model(work, scheduler="fcfs", profile=SMALL, stock=DEFAULT, options={}).delivery[1][0]
        for work in (workload, cold)
    ]
    assert times[0] < times[1]


def test_what_the_model_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="vLLM's classes"):
        run_model(QUEUE, scheduler="random", profile=SMALL, stock=DEFAULT, options={})
