"""A small engine for tests of single steps: the shipped scheduler class, and a runner that answers at once."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from benchmarks.scheduling.ours import virtual_qoe_scheduler
from benchmarks.scheduling.virtual_time import TOKEN, VirtualClock, block_hasher, build_scheduler
from vllm.lora.request import LoRARequest
from vllm.sampling_params import SamplingParams, StructuredOutputsParams
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request

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
        self, *, prompt: int = 20, adapter: int = 0, grammar: Future[Any] | None = None, tokens: int = 5,
        session: bool = False, request_id: str | None = None,
    ) -> Request:  # fmt: skip
        self.count += 1
        structured = StructuredOutputsParams(regex="a*") if grammar is not None else None
        request = Request(
            request_id=request_id or str(self.count),
            prompt_token_ids=[10 + self.count] * prompt,
            sampling_params=SamplingParams(
                max_tokens=tokens, ignore_eos=True, structured_outputs=structured,
                extra_args={request_args.RECEIVED_AT: self.clock.now},
            ),
            pooling_params=None,
            arrival_time=self.clock.now,
            block_hasher=self.hasher,
            lora_request=LoRARequest(str(adapter), adapter, "/nowhere") if adapter else None,
            resumable=session,
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

    def speak(self, session: Request) -> None:
        """More of a session's input."""
        self.add(session=True, request_id=session.request_id)

    def pass_over(self, request: Request, *, steps: int) -> None:
        """Let a running request get no token in the next steps, by the means that vLLM has for it."""
        request.next_decode_eligible_step = self.scheduler.current_step + steps + 1

    def started(self, requests: list[Request]) -> int:
        return sum(request.request_id in self.got for request in requests)
