"""What holds of every simulated run: nothing is lost, nothing is doubled, and the same run comes out the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andante.domain.qoe import score_timeline
from andante.domain.request_meter import RequestMeter
from andante.domain.scheduling.qoe_settings import QoEPolicySettings
from andante.sim.engine import Engine, StepTime
from andante.sim.requests import Requests
from andante.sim.run import Outcome, Scheduling, simulate
from unit.sim_workloads import CLASSES, COEFFICIENTS, engine, requests

SCHEDULING = (
    None,
    Scheduling(),
    Scheduling(settings=QoEPolicySettings(preemption=False, ageing_share=0.2)),
    Scheduling(settings=QoEPolicySettings(kv_offload=True)),
)


@st.composite
def workloads(draw: st.DrawFn, *, patient: bool = False) -> Requests:
    """Up to 25 requests that more than fill a small replica."""
    count = draw(st.integers(1, 25))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    source = np.where(random.random(count) < 0.4, random.integers(-1, np.maximum(np.arange(count), 1)), -1)
    source[0] = -1
    prompt, output = random.integers(1, 200, count), random.integers(1, 120, count)
    there = np.where(source < 0, 0, (prompt + output)[source])
    shared = np.minimum(np.minimum(prompt, there), random.integers(0, 200, count))
    patience = np.where(random.random(count) < 0.5, random.exponential(3.0, count), np.inf)
    more: dict[str, Any] = {} if patient else {"patience": patience}
    return requests(
        np.sort(random.uniform(0.0, draw(st.sampled_from((0.0, 2.0, 20.0))), count)).tolist(), prompt.tolist(),
        output.tolist(), class_of=random.integers(0, len(CLASSES), count), priority=random.integers(0, 3, count),
        source=source, shared=shared, **more,
    )  # fmt: skip


engines = st.builds(
    lambda **changes: engine(**changes),
    blocks=st.integers(22, 60),
    max_seqs=st.integers(1, 8),
    max_step_tokens=st.sampled_from((16, 64, 512)),
    long_prefill=st.sampled_from((0, 0, 24)),
    watermark_blocks=st.sampled_from((0, 0, 3)),
    prefix_caching=st.booleans(),
    by_priority=st.booleans(),
    steps_in_flight=st.sampled_from((1, 2)),
    reserve_whole=st.booleans(),
    host_blocks=st.sampled_from((0, 0, 30, 80)),
    host_copy=st.sampled_from((1e-5, 0.004, 0.1)),
    host_lru=st.booleans(),
).map(lambda small: small if small.prefix_caching and small.steps_in_flight == 1 else small._replace(host_blocks=0))
scheduling = st.sampled_from(SCHEDULING)


@given(workloads(), engines, scheduling)
@settings(max_examples=150, deadline=None)
def test_every_request_ends_once_and_no_block_is_lost(
    workload: Requests, small: Engine, how: Scheduling | None
) -> None:
    """`simulate` raises where a block or a request is lost; the rest is seen from outside."""
    outcome = simulate(workload, small, how, record_times=True)
    assert np.isfinite(outcome.finish).all()
    assert (outcome.tokens[~outcome.left] == workload.output[~outcome.left]).all()
    assert (outcome.tokens <= workload.output).all()
    assert outcome.preemptions.sum() == outcome.all_preemptions >= outcome.by_policy
    assert outcome.busy <= outcome.end + 1e-9
    assert outcome.token_times is not None
    for index, times in enumerate(outcome.token_times):
        assert times.size == outcome.tokens[index]
        assert (np.diff(times, prepend=0.0) > 0).all()  # one token a step


@given(workloads(), engines, scheduling)
@settings(max_examples=60, deadline=None)
def test_lag_and_delay_area_are_the_measures_of_the_timeline(
    workload: Requests, small: Engine, how: Scheduling | None
) -> None:
    outcome = simulate(workload, small, how, record_times=True)
    assert outcome.token_times is not None
    for index, times in enumerate(outcome.token_times):
        if not times.size or not workload.seconds_per_token[index]:
            continue
        ttft, pace = float(workload.expected_ttft[index]), float(1 / workload.seconds_per_token[index])
        score = score_timeline(times, expected_ttft=ttft, pace=pace)
        assert outcome.delay_area[index] / times.size == pytest.approx(score.mean_delay, abs=1e-9)
        due = ttft + np.arange(times.size) / pace
        assert outcome.lag[index] == pytest.approx(max(float((times - due).max()), 0.0), abs=1e-9)


@given(workloads(), engines, scheduling)
@settings(max_examples=60, deadline=None)
def test_a_reader_leaves_only_with_nothing_left_to_read(
    workload: Requests, small: Engine, how: Scheduling | None
) -> None:
    """By the meter of production, who leaves after tokens has read all of them for as long as the patience lasts."""
    outcome = simulate(workload, small, how, record_times=True)
    assert outcome.token_times is not None
    for index in np.flatnonzero(outcome.left & (outcome.tokens > 0)):
        wanted = CLASSES[int(workload.class_index[index])].expectation(int(workload.prompt[index]))
        meter = RequestMeter(expectation=wanted)
        meter.deliver_all(outcome.token_times[index].tolist(), [1] * int(outcome.tokens[index]))
        since = outcome.finish[index] - workload.arrival[index] - workload.patience[index]
        assert meter.left(max(since - 1e-9, outcome.last_token[index])).value == "aborted"


@given(workloads(), engines, scheduling)
@settings(max_examples=40, deadline=None)
def test_the_same_run_comes_out_the_same(workload: Requests, small: Engine, how: Scheduling | None) -> None:
    once, again = (simulate(workload, small, how) for _ in range(2))
    assert _numbers(once) == _numbers(again)


@given(workloads(patient=True), engines)
@settings(max_examples=60, deadline=None)
def test_a_machine_of_half_the_speed_takes_twice_the_time(workload: Requests, small: Engine) -> None:
    """First come, first served knows no time: with twice the times between arrivals all is the same, twice as late."""
    small = small._replace(by_priority=False, watermark_blocks=0, host_blocks=0)
    slow = small._replace(step_time=StepTime.of(COEFFICIENTS.scaled(2.0)))
    late = workload._replace(arrival=2 * workload.arrival)
    fast_run, slow_run = simulate(workload, small), simulate(late, slow)
    assert slow_run.end == 2 * fast_run.end
    assert (slow_run.last_token == 2 * fast_run.last_token).all()
    assert slow_run.steps == fast_run.steps


@given(workloads(patient=True), engines)
@settings(max_examples=40, deadline=None)
def test_more_memory_preempts_nobody_who_was_not(workload: Requests, small: Engine) -> None:
    blocks = int((workload.prompt + workload.output + 15).sum() // 16) + 1
    whole = small._replace(blocks=blocks + small.watermark_blocks)
    assert simulate(workload, whole).all_preemptions == 0


def _numbers(outcome: Outcome) -> list[Any]:
    plain = replace(outcome, token_times=None)
    return [
        value.tobytes() if isinstance(value, np.ndarray) else value
        for value in (getattr(plain, name) for name in plain.__dataclass_fields__)
    ]
