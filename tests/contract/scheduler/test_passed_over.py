"""Whom vLLM would pass over takes no room of others, and gets in when nothing holds them back any more."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest
from vllm.v1.request import RequestStatus

from andante.domain.scheduling.view import NOBODY, Plan
from andante_vllm import request_args
from contract.scheduler.stepped_engine import Engine, Grammar


def test_grammars_that_compile_hold_up_nobody_else() -> None:
    engine = Engine()
    schema: Future[Any] = Future()
    slow = [engine.add(prompt=300, grammar=schema) for _ in range(60)]  # more than .3 s of prefill
    others = []
    for _ in range(30):
        others += [engine.add(prompt=600), engine.add(prompt=600)]
        engine.step()
    engine.step(60)
    assert engine.started(others) == 60
    assert engine.started(slow) == 0
    schema.set_result(Grammar())
    engine.step(60)
    assert engine.started(slow) == 60
    assert not engine.scheduler.requests


def test_a_grammar_that_does_not_compile_ends_its_request_only() -> None:
    engine = Engine()
    schema: Future[Any] = Future()
    bad = engine.add(grammar=schema)
    # A queue that does not fit, so that the policy and not vLLM's order chooses.
    others = [engine.add(prompt=3000, tokens=200) for _ in range(40)]
    engine.step(2)
    schema.set_exception(ValueError("no such grammar"))
    engine.step(3)
    assert bad.status is RequestStatus.FINISHED_ERROR
    engine.step(400)
    assert engine.started(others) == 40


@pytest.mark.parametrize("slots", [1, 2])
def test_an_adapter_without_a_slot_holds_up_nobody_else(slots: int) -> None:
    engine = Engine(max_loras=slots)
    streams = [engine.add(adapter=adapter, tokens=400) for adapter in range(1, slots + 1)]
    engine.step()
    without = [engine.add(prompt=300, adapter=9) for _ in range(60)]
    loaded = [engine.add(prompt=600, adapter=1 + number % slots) for number in range(80)]
    engine.step(60)
    assert engine.started(streams) == slots
    assert engine.started(loaded) == 80
    assert engine.started(without) == 0
    engine.step(450)  # the streams end
    assert engine.started(without) == 60
    assert not engine.scheduler.requests


def test_more_adapters_than_slots_take_turns() -> None:
    engine = Engine(max_loras=2)
    requests = [engine.add(prompt=300, adapter=1 + number % 7, tokens=20) for number in range(70)]
    plain = [engine.add(prompt=300, tokens=20) for _ in range(20)]
    engine.step(5)
    assert engine.started(plain) > 0
    engine.step(800)
    assert engine.started(requests) == 70
    assert not engine.scheduler.requests


def test_the_answers_of_one_reader_weigh_as_one() -> None:
    engine = Engine()
    for choices in (None, 4, 0, True, "4", 10**6):
        request = engine.add()
        assert request.sampling_params is not None
        assert request.sampling_params.extra_args is not None
        engine.scheduler._table.remove(request.request_id, ended_itself=False)
        request.sampling_params.extra_args |= {} if choices is None else {request_args.CHOICES: choices}
        engine.scheduler._gathering.enter(request, now=0.0, wall_clock=0.0)
    view, _ = engine.scheduler._table.view(0.0, prefilling=[])
    assert view.weight.tolist() == [1.0, 0.25, 1.0, 1.0, 1.0, 1e-6]


@pytest.mark.parametrize(("stop", "learned"), [(None, 0), ("END", 1)])
def test_an_answer_that_a_stop_string_ends_tells_its_length(stop: str | None, learned: int) -> None:
    engine = Engine()
    request = engine.add(tokens=50)
    assert request.sampling_params is not None
    request.sampling_params.stop = [stop] if stop else []
    engine.step(8)
    engine.scheduler.finish_requests(request.request_id, RequestStatus.FINISHED_ABORTED)
    engine.scheduler._table.view(1.0, prefilling=[])
    assert engine.scheduler._table.lengths.histograms.unseen.sum() == learned


@pytest.mark.parametrize(("aligned", "tokens"), [(False, 3), (True, 16)])
def test_a_model_that_prefills_in_whole_blocks_gets_room_for_one(aligned: bool, tokens: int) -> None:
    engine = Engine()
    engine.scheduler.need_mamba_block_aligned_split = aligned
    orders = engine.scheduler._seam.orders(Plan(admit=NOBODY, step_tokens=3), lambda indices: [])
    assert orders.tokens == tokens


def test_who_leaves_while_hidden_is_forgotten() -> None:
    engine = Engine(max_loras=1)
    hidden = [engine.add(grammar=Future()), engine.add(adapter=1), engine.add(adapter=2)]
    engine.step(2)
    for request in hidden:
        engine.scheduler.finish_requests(request.request_id, RequestStatus.FINISHED_ABORTED)
    engine.step()
    last = engine.add(adapter=3)
    engine.step()
    assert engine.started([last]) == 1
    assert len(engine.scheduler._table) == 1
