"""Whom vLLM would pass over takes nobody's room, and gets in when nothing holds him back any more."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest
from benchmarks.scheduling.ours import virtual_qoe_scheduler
from benchmarks.scheduling.virtual_time import TOKEN, VirtualClock, block_hasher, build_scheduler
from vllm.lora.request import LoRARequest
from vllm.sampling_params import SamplingParams, StructuredOutputsParams
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request, RequestStatus

from andante.domain.pace import PRESETS
from andante.profiles import load_profiles
from andante_vllm import request_args

PROFILE = load_profiles()["llama-3-8b-1xh100"]


class Grammar:
    """A grammar that everything fits."""

    def accept_tokens(self, *_: Any) -> bool:
        return True

    def is_terminated(self) -> bool:
        return False


class Engine:
    """An H100's scheduler, with a runner that answers at once."""

    def __init__(self, *, max_loras: int = 0, kv_blocks: int = PROFILE.kv_capacity_blocks) -> None:
        self.clock = VirtualClock()
        self.hasher = block_hasher(16)
        self.scheduler: Any = build_scheduler(
            virtual_qoe_scheduler(
                policy="qoe", clock=self.clock, classes=(PRESETS["reading"],), profile=PROFILE, options={}
            ),
            kv_blocks=kv_blocks, block_size=16, max_num_seqs=256, max_num_batched_tokens=2048, max_loras=max_loras,
        )  # fmt: skip
        self.got: dict[str, int] = {}
        self.count = 0

    def add(
        self, *, prompt: int = 20, adapter: int = 0, grammar: Future[Any] | None = None, tokens: int = 5
    ) -> Request:
        self.count += 1
        structured = StructuredOutputsParams(regex="a*") if grammar is not None else None
        request = Request(
            request_id=str(self.count),
            prompt_token_ids=[10 + self.count] * prompt,
            sampling_params=SamplingParams(
                max_tokens=tokens, ignore_eos=True, structured_outputs=structured,
                extra_args={request_args.RECEIVED_AT: self.clock.now},
            ),
            pooling_params=None,
            arrival_time=self.clock.now,
            block_hasher=self.hasher,
            lora_request=LoRARequest(str(adapter), adapter, "/nowhere") if adapter else None,
        )  # fmt: skip
        if request.structured_output_request is not None and grammar is not None:
            request.structured_output_request.grammar = grammar
        self.scheduler.add_request(request)
        return request

    def step(self, count: int = 1) -> None:
        for _ in range(count):
            batch = self.scheduler.schedule()
            ids = list(batch.num_scheduled_tokens)
            sampled = [[] if self.scheduler.requests[i].is_prefill_chunk else [TOKEN] for i in ids]
            for request_id, tokens in zip(ids, sampled, strict=True):
                self.got[request_id] = self.got.get(request_id, 0) + len(tokens)
            places = {request_id: place for place, request_id in enumerate(ids)}
            self.scheduler.update_from_output(
                batch, ModelRunnerOutput(req_ids=ids, req_id_to_index=places, sampled_token_ids=sampled)
            )
            self.clock.now += 0.02
        assert self.scheduler._policy is not None

    def started(self, requests: list[Request]) -> int:
        return sum(request.request_id in self.got for request in requests)


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
