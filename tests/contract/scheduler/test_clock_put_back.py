"""The machine's clock is put back while requests are served: nothing ends, and no counter falls."""

from __future__ import annotations

from typing import Any

import pytest
from benchmarks.scheduling.ours import virtual_qoe_scheduler
from benchmarks.scheduling.virtual_time import VirtualClock, build_scheduler, run_workload
from benchmarks.scheduling.workload import LENGTHS, poisson_workload

from andante.domain.pace import PRESETS
from andante.profiles import load_profiles

PROFILE = load_profiles()["llama-3-8b-1xh100"]


def test_no_step_takes_less_than_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = VirtualClock()
    scheduler = build_scheduler(
        virtual_qoe_scheduler(policy="qoe", clock=clock, classes=(PRESETS["reading"],), profile=PROFILE, options={}),
        kv_blocks=PROFILE.kv_capacity_blocks, block_size=16, max_num_seqs=256, max_num_batched_tokens=2048,
    )  # fmt: skip
    monkeypatch.setattr(scheduler, "now", lambda: clock.now - (7200.0 if clock.now > 2 else 0.0))
    sums: list[float] = []

    def look(_: float, looked_at: Any) -> None:
        looked_at._metrics.hand_over()
        name, labels = "andante_scheduler_step_seconds_sum", {"model_name": PROFILE.model}
        sums.append(looked_at._metrics.registry.get_sample_value(name, labels))

    workload = poisson_workload(rate=4.0, duration=5.0, lengths=LENGTHS["chat"], seed=3)
    run = run_workload(workload, scheduler=scheduler, clock=clock, profile=PROFILE, observer=look)
    assert [len(times) for times in run.delivery] == workload.output_tokens.tolist()
    assert sums == sorted(sums)
