"""An error in the policy, its table or its plan ends the policy, not the engine: everybody gets all their tokens."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from benchmarks.scheduling.ours import virtual_qoe_scheduler
from benchmarks.scheduling.virtual_time import VirtualClock, build_scheduler, make_requests, run_workload
from benchmarks.scheduling.workload import LENGTHS, Workload, poisson_workload
from hypothesis import given, settings
from hypothesis import strategies as st
from vllm.v1.core.sched.request_queue import FCFSRequestQueue

from andante.domain.pace import PRESETS
from andante.domain.scheduling.view import NOBODY, EngineView, Plan, RequestView
from andante.engine_config import POLICY_FAILED
from andante.profiles import load_profiles
from andante_vllm import request_args
from andante_vllm import scheduler as scheduler_module

PROFILE = load_profiles()["llama-3-8b-1xh100"]
CLASSES = (PRESETS["reading"],)
Decide = Callable[[RequestView, EngineView], Plan | None]


def crowd() -> Workload:
    """More than the small engine of `build` serves at once."""
    return poisson_workload(rate=15.0, duration=4.0, lengths=LENGTHS["chat"], seed=3)


def build(clock: VirtualClock, *, depth: int = 1) -> Any:
    """A scheduler that is short of blocks and slots, with the policy `qoe`."""
    return build_scheduler(
        virtual_qoe_scheduler(policy="qoe", clock=clock, classes=CLASSES, profile=PROFILE, options={}),
        kv_blocks=200, block_size=16, max_num_seqs=16, max_num_batched_tokens=512, async_scheduling=depth > 1,
    )  # fmt: skip


def serve(scheduler: Any, clock: VirtualClock, *, depth: int = 1) -> None:
    """Serves the crowd; everybody must get all their tokens."""
    workload = crowd()
    run = run_workload(workload, scheduler=scheduler, clock=clock, profile=PROFILE, depth=depth)
    assert [len(times) for times in run.delivery] == workload.output_tokens.tolist()
    assert not scheduler.requests


def shown(scheduler: Any) -> dict[str, float]:
    """Value of `andante_scheduler_active` by reason."""
    (family,) = scheduler._metrics.active.collect()
    return {sample.labels["reason"]: sample.value for sample in family.samples}


def failed(scheduler: Any) -> str:
    """The reason that is shown, once the policy has failed."""
    reasons = [reason for reason in shown(scheduler) if reason.startswith(POLICY_FAILED)]
    assert len(reasons) == 1
    assert set(shown(scheduler).values()) == {0.0}
    assert type(scheduler.waiting) is FCFSRequestQueue
    return reasons[0]


class Broken:
    """The scheduler's policy, with another answer from its decision number `after` on."""

    def __init__(self, scheduler: Any, answer: Decide, *, after: int = 0) -> None:
        self._policy, self._answer, self._left = scheduler._policy, answer, after
        scheduler._policy = self

    def decide(self, requests: RequestView, engine: EngineView) -> Plan | None:
        self._left -= 1
        plan: Plan | None = self._policy.decide(requests, engine)
        return plan if self._left >= 0 else self._answer(requests, engine)


@pytest.fixture
def errors(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[logging.LogRecord]]:
    """What the scheduler's logger says of errors."""
    records: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    handler = Keep(level=logging.ERROR)
    scheduler_module.logger.addHandler(handler)
    yield records
    scheduler_module.logger.removeHandler(handler)


def _raise(*_: object, **__: object) -> Any:
    raise IndexError("index 5 is out of bounds")


@pytest.mark.parametrize("depth", [1, 2], ids=["sync", "async"])
@pytest.mark.parametrize("after", [0, 1, 40])
def test_a_policy_that_raises_is_given_up_once_and_loudly(
    errors: list[logging.LogRecord], after: int, depth: int
) -> None:
    clock = VirtualClock()
    scheduler = build(clock, depth=depth)
    Broken(scheduler, _raise, after=after)
    serve(scheduler, clock, depth=depth)
    assert failed(scheduler) == f"{POLICY_FAILED} IndexError: index 5 is out of bounds"
    (record,) = errors
    assert record.exc_info is not None
    assert record.exc_info[0] is IndexError


def _ints(*values: int) -> Any:
    return np.array(values, dtype=np.int64)


def _first(requests: RequestView, *, running: bool) -> Any:
    return np.flatnonzero(requests.running == running)[:1].astype(np.int64)


PLANS: dict[str, Decide] = {
    "negative tokens": lambda r, e: Plan(admit=NOBODY, step_tokens=-(2**63)),
    "no tokens": lambda r, e: Plan(admit=NOBODY, step_tokens=0),
    "tokens that are no number": lambda r, e: Plan(admit=NOBODY, step_tokens=float("nan")),  # type: ignore[arg-type]
    "somebody who is not there": lambda r, e: Plan(admit=_ints(len(r))),
    "somebody before the first": lambda r, e: Plan(admit=_ints(-1)),
    "indices that are no numbers": lambda r, e: Plan(admit=np.array([np.nan])),  # type: ignore[arg-type]
    "somebody twice": lambda r, e: Plan(admit=np.repeat(_first(r, running=False), 2), step_tokens=-1),
    "admits who runs": lambda r, e: Plan(admit=np.flatnonzero(r.running).astype(np.int64), step_tokens=-1),
    "takes off who waits": lambda r, e: Plan(admit=NOBODY, preempt=np.arange(len(r)), step_tokens=-1),
    "no arrays": lambda r, e: Plan(admit=[0], preempt=None),  # type: ignore[arg-type]
    "no plan": lambda r, e: (1, 2),  # type: ignore[arg-type, return-value]
}


@pytest.mark.parametrize("kind", PLANS)
def test_a_plan_that_cannot_be_carried_out_is_as_an_error(kind: str) -> None:
    clock = VirtualClock()
    scheduler = build(clock)
    Broken(scheduler, PLANS[kind], after=30)
    serve(scheduler, clock)
    failed(scheduler)


ANY_INDICES = st.lists(st.integers(-5, 60), max_size=4)


@given(
    admit=ANY_INDICES,
    preempt=ANY_INDICES,
    victims=ANY_INDICES,
    tokens=st.none() | st.integers(),
    after=st.integers(0, 60),
)
@settings(max_examples=15, deadline=None)
def test_after_any_plan_everybody_gets_all_their_tokens(
    admit: list[int], preempt: list[int], victims: list[int], tokens: int | None, after: int
) -> None:
    clock = VirtualClock()
    scheduler = build(clock)
    plan = Plan(admit=_ints(*admit), preempt=_ints(*preempt), victims=_ints(*victims), step_tokens=tokens)
    broken = iter([plan])
    Broken(scheduler, lambda r, e: next(broken), after=after)  # and then an error: the iterator ends
    serve(scheduler, clock)
    failed(scheduler)


@pytest.mark.parametrize("depth", [1, 2], ids=["sync", "async"])
@pytest.mark.parametrize("after", [0, 7])
@pytest.mark.parametrize(
    "method", ["add", "remove", "view", "running", "batch", "names", "deliver_one_each", "started", "preempted"]
)
def test_a_table_that_raises_is_given_up(monkeypatch: pytest.MonkeyPatch, method: str, after: int, depth: int) -> None:
    clock = VirtualClock()
    scheduler = build(clock, depth=depth)
    whole = getattr(scheduler._table, method)
    calls = iter(range(after))
    monkeypatch.setattr(
        scheduler._table, method, lambda *a, **k: (whole if next(calls, None) is not None else _raise)(*a, **k)
    )
    serve(scheduler, clock, depth=depth)
    failed(scheduler)


def test_who_waits_goes_on_in_order_of_arrival() -> None:
    clock = VirtualClock()
    scheduler = build(clock)
    for request in reversed(make_requests(crowd(), hasher=None)):
        scheduler.add_request(request)
    before = {request.request_id for request in scheduler.waiting}
    scheduler._fall_back(IndexError("3"))
    arrivals = [request.arrival_time for request in scheduler.waiting]
    assert {request.request_id for request in scheduler.waiting} == before
    assert arrivals == sorted(arrivals)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (request_args.PACE, "abc"),
        (request_args.PACE, 1e-300),
        (request_args.EXPECTED_TTFT, [1]),
        (request_args.EXPECTED_TTFT, float("nan")),
        (request_args.RECEIVED_AT, "now"),
        (request_args.RECEIVED_AT, float("-inf")),
        (request_args.CLASS, 3),
        (request_args.CLASS, {"a": 1}),
    ],
)
def test_values_that_no_middleware_has_seen_leave_the_policy_in_charge(
    monkeypatch: pytest.MonkeyPatch, key: str, value: object
) -> None:
    clock = VirtualClock()
    scheduler = build(clock)
    enter = scheduler.add_request

    def add(request: Any) -> None:
        request.sampling_params.extra_args[key] = value
        enter(request)

    monkeypatch.setattr(scheduler, "add_request", add)
    serve(scheduler, clock)
    assert shown(scheduler) == {"policy": 1.0}
