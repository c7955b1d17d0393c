"""All running requests count against vLLM's limit of LoRA adapters, also those that get no token in a step."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.request import Request, RequestStatus

from andante.domain.scheduling.view import EngineView, Plan, RequestView
from contract.scheduler.stepped_engine import Engine, Grammar


def test_a_running_request_without_a_token_keeps_its_adapters_slot() -> None:
    engine = Engine(max_loras=1)
    first = engine.add(adapter=1, tokens=20)
    engine.step()
    others = [engine.add(adapter=2), engine.add(adapter=2)]
    engine.pass_over(first, steps=2)
    engine.step(2)
    assert engine.got == {first.request_id: 1}
    engine.step(40)
    assert engine.started(others) == 2
    assert not engine.scheduler.requests


class AdmitsAll:
    """A policy that admits all requests that it sees."""

    def decide(self, requests: RequestView, engine: EngineView) -> Plan:
        return Plan(admit=np.flatnonzero(~requests.running))


@pytest.mark.parametrize("planned", [False, True], ids=["vLLM's order", "a plan"])
def test_a_free_adapter_slot_goes_to_who_holds_kv_already(planned: bool) -> None:
    engine = Engine(max_loras=2)
    session = engine.add(adapter=2, tokens=3, session=True)
    first = engine.add(adapter=1, tokens=20)
    engine.step(6)
    assert session.status is RequestStatus.WAITING_FOR_STREAMING_REQ
    if planned:
        engine.scheduler._policy = AdmitsAll()
    newcomer = engine.add(adapter=3)
    engine.speak(session)
    engine.pass_over(first, steps=1)
    engine.step()
    assert engine.scheduler.running == [first, session]
    engine.step(40)
    assert engine.started([newcomer]) == 1
    assert list(engine.scheduler.requests) == [session.request_id]


def waiting_for_a_slot() -> tuple[Engine, list[Request], list[Request]]:
    """An engine whose only slot is taken, by a request that gets no token in the next step; its two queues, with a
    request without an adapter in the middle of each.
    """
    engine = Engine(max_loras=1)
    sessions = [engine.add(adapter=adapter, tokens=2, session=True) for adapter in (2, 0, 3)]
    engine.step(10)
    first = engine.add(adapter=1, tokens=20)
    engine.step()
    assert engine.scheduler.running == [first]
    newcomers = [engine.add(adapter=2), engine.add(prompt=3000), engine.add(adapter=3)]
    for session in sessions:
        engine.speak(session)
    engine.pass_over(first, steps=1)
    return engine, sessions, newcomers


def test_requests_without_a_slot_keep_their_places() -> None:
    engine, sessions, newcomers = waiting_for_a_slot()
    engine.step()
    assert list(engine.scheduler.kv_holding_waiting) == [sessions[0], sessions[2]]
    assert list(engine.scheduler.waiting) == [newcomers[0], newcomers[2]]
    assert {*engine.scheduler.kv_holding_waiting, *engine.scheduler.waiting} <= engine.scheduler.deferred_waiting
    engine.step(60)
    assert engine.started(newcomers) == 3
    assert not engine.scheduler.deferred_waiting.difference(sessions)
    assert engine.scheduler.requests.keys() == {session.request_id for session in sessions}


def test_requests_without_a_slot_are_not_lost_with_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, sessions, newcomers = waiting_for_a_slot()

    def fail(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(Scheduler, "schedule", fail)
        with pytest.raises(MemoryError):
            engine.scheduler.schedule()
    assert list(engine.scheduler.kv_holding_waiting) == sessions
    assert list(engine.scheduler.waiting) == newcomers
    engine.step(60)
    assert engine.started(newcomers) == 3


@pytest.mark.parametrize("why", ["a grammar", "a client"])
def test_who_cannot_start_yet_takes_no_adapter_slot(why: str) -> None:
    engine = Engine(max_loras=1)
    schema: Future[Any] = Future()
    waits_for: dict[str, Any] = {"grammar": schema} if why == "a grammar" else {"session": True}
    slow = engine.add(adapter=1, tokens=2, **waits_for)
    engine.step(5)
    other = engine.add(adapter=2, tokens=5)
    engine.step(2)
    assert engine.scheduler.running == [other]
    if why == "a client":
        engine.speak(slow)
    schema.set_result(Grammar())
    engine.step(2)
    assert engine.scheduler.running == [other]
    engine.step(10)
    assert engine.got[slow.request_id] == {"a grammar": 2, "a client": 2 + 5}[why]
