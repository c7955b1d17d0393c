"""Readers who leave in virtual time: when they do, and that vLLM's scheduler lets go of their requests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from benchmarks.scheduling.patience import Readers
from benchmarks.scheduling.schedulers import make_scheduler
from benchmarks.scheduling.virtual_time import Run, VirtualClock, run_workload
from benchmarks.scheduling.workload import LENGTHS, Workload, endless_queue, with_patience

from andante.domain.pace import PRESETS
from andante.profiles import load_profiles

SMALL = replace(load_profiles()["opt-66b-4xa100-estimate"], kv_capacity_tokens=4_000)
READING = PRESETS["reading"]


def two(patience: tuple[float, float], classes: tuple[str, str] = ("reading", "reading")) -> Workload:
    return Workload(
        arrival=np.array([10.0, 10.0]), prompt_tokens=np.array([20, 20]), output_tokens=np.array([50, 50]),
        class_of=np.array([0, 1]), classes=(PRESETS[classes[0]], PRESETS[classes[1]]), duration=20.0,
        patience=np.array(patience),
    )  # fmt: skip


def test_before_the_first_token_patience_counts_from_the_arrival() -> None:
    readers = Readers(two((5.0, 7.0)))
    for index in (0, 1):
        readers.arrived(index)
    assert readers.leave(14.9) == []
    assert readers.leave(15.1) == [0]
    assert readers.left[0] == pytest.approx(5.1)
    assert np.isnan(readers.left[1])


def test_later_it_counts_from_when_all_has_been_read() -> None:
    """Ten tokens at once, 3 s after the arrival and so 2 s late: they are read until 13 + 10 / 4.8."""
    readers = Readers(two((5.0, np.inf)))
    readers.arrived(0)
    assert readers.got([0] * 10, 13.0) == [0] * 10
    dry = 13.0 + 10 / READING.pace
    assert readers.leave(dry + 4.9) == []
    assert readers.leave(dry + 5.1) == [0]
    assert readers.got([0], dry + 6.0) == []


def test_neither_who_has_all_nor_batch_work_leaves() -> None:
    readers = Readers(two((5.0, 5.0), ("reading", "batch")))
    for index in (0, 1):
        readers.arrived(index)
    readers.ended(0)
    assert readers.leave(1e6) == []


def served(scheduler: str, workload: Workload) -> Run:
    clock = VirtualClock()
    return run_workload(
        workload, scheduler=make_scheduler(scheduler, profile=SMALL, clock=clock, classes=workload.classes),
        clock=clock, profile=SMALL,
    )  # fmt: skip


@pytest.mark.parametrize("scheduler", ["fcfs", "qoe", "shortest", "las", "edf", "andes"])
def test_an_overloaded_engine_serves_those_who_stay(scheduler: str) -> None:
    workload = with_patience(endless_queue(requests=60, lengths=LENGTHS["chat"], seed=1), mean=20.0, seed=1)
    run = served(scheduler, workload)
    gone = ~np.isnan(run.left)
    counts = np.array([delivery.size for delivery in run.delivery])
    assert 0 < gone.sum() < 60
    assert (counts[~gone] == workload.output_tokens[~gone]).all()
    assert (counts[gone] < workload.output_tokens[gone]).all()
    for delivery, left in zip(run.delivery, run.left, strict=True):
        assert not delivery.size or np.isnan(left) or delivery[-1] <= left
