"""The machine's clock is set while requests are served: that changes nothing, and no counter falls."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from benchmarks.scheduling.virtual_time import Run, VirtualClock, build_scheduler, run_workload
from benchmarks.scheduling.workload import LENGTHS, poisson_workload

from andante.domain.scheduling.qoe_policy import QoEPolicy
from andante.domain.step_time import LinearStepTime
from andante.profiles import load_profiles
from andante_vllm import request_args
from andante_vllm import scheduler as scheduler_module
from andante_vllm.scheduler_settings import SchedulerSettings

PROFILE = load_profiles()["llama-3-8b-1xh100"]
TODAY = 1.7e9
STEP_SECONDS = "andante_scheduler_step_seconds_sum"


def served(monkeypatch: pytest.MonkeyPatch, *, set_by: float) -> tuple[Run, list[float]]:
    """A crowd on a small engine whose clock is set by so many seconds after two; its sums of step times."""
    clock = VirtualClock()

    def wall() -> float:
        return TODAY + clock.now + (set_by if clock.now > 2 else 0.0)

    fake = SimpleNamespace(time=wall, monotonic=lambda: clock.now, perf_counter=time.perf_counter)
    monkeypatch.setattr(scheduler_module, "time", fake)

    class Scheduler(scheduler_module.QoEScheduler):
        def load_settings(self) -> SchedulerSettings:
            step_time = LinearStepTime.from_profile(PROFILE.coefficients)
            return SchedulerSettings(policy=QoEPolicy(), policy_name="qoe", step_time=step_time)

        def add_request(self, request: Any) -> None:
            request.arrival_time = request.sampling_params.extra_args[request_args.RECEIVED_AT] = wall()
            super().add_request(request)

    scheduler = build_scheduler(Scheduler, kv_blocks=200, block_size=16, max_num_seqs=32, max_num_batched_tokens=2048)
    sums: list[float] = []

    def look(_: float, looked_at: Any) -> None:
        looked_at._metrics.hand_over()
        sums.append(looked_at._metrics.registry.get_sample_value(STEP_SECONDS, {"model_name": ""}))

    workload = poisson_workload(rate=25.0, duration=4.0, lengths=LENGTHS["chat"], seed=3)
    run = run_workload(workload, scheduler=scheduler, clock=clock, profile=PROFILE, observer=look)
    assert [len(times) for times in run.delivery] == workload.output_tokens.tolist()
    return run, sums


@pytest.mark.parametrize("set_by", [3600.0, -7200.0])
def test_a_clock_that_is_set_changes_nothing(monkeypatch: pytest.MonkeyPatch, set_by: float) -> None:
    undisturbed, _ = served(monkeypatch, set_by=0.0)
    run, sums = served(monkeypatch, set_by=set_by)
    assert sums == sorted(sums)
    assert [times.tolist() for times in run.delivery] == [times.tolist() for times in undisturbed.delivery]
