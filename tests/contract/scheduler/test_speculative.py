"""Draft tokens: what the scheduler makes of steps that bring a request several tokens, or verify some for nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from benchmarks.scheduling.virtual_time import TOKEN, VirtualClock, block_hasher, build_scheduler
from vllm.sampling_params import SamplingParams
from vllm.v1.outputs import DraftTokenIds, ModelRunnerOutput
from vllm.v1.request import Request

from andante.domain.scheduling.view import NOBODY, EngineView, Plan, RequestView
from andante_vllm.scheduler import QoEScheduler
from andante_vllm.scheduler_columns import ROW_DELIVERED
from andante_vllm.scheduler_settings import SchedulerSettings

DRAFTS = 3
STEP_SECONDS = 0.02


class Fixed:
    """Answers with the same step tokens, and lets everybody in; keeps what it was shown."""

    def __init__(self) -> None:
        self.step_tokens: int | None = None
        self.seen: list[tuple[RequestView, EngineView]] = []

    def decide(self, requests: RequestView, engine: EngineView) -> Plan | None:
        self.seen.append((requests, engine))
        waiting = np.flatnonzero(~requests.running)
        return Plan(admit=waiting if waiting.size else NOBODY, step_tokens=self.step_tokens)


class Engine:
    """A scheduler with `depth` steps under way, and a runner of whose draft tokens `held` hold."""

    def __init__(self, *, depth: int, held: int = 0, kv_blocks: int = 400) -> None:
        self.clock, self.policy, self.depth, self.held = VirtualClock(), Fixed(), depth, held
        clock, settings = self.clock, SchedulerSettings(policy=self.policy, policy_name="fixed")

        class Watched(QoEScheduler):
            def now(self) -> float:
                return clock.now

            def wall_clock(self) -> float:
                return clock.now

            def load_settings(self) -> SchedulerSettings:
                return settings

        self.scheduler: Any = build_scheduler(
            Watched, kv_blocks=kv_blocks, block_size=16, max_num_seqs=32, max_num_batched_tokens=512,
            async_scheduling=depth > 1, draft_tokens=DRAFTS, draft_method="ngram_gpu" if depth > 1 else "ngram",
        )  # fmt: skip
        self.hasher = block_hasher(16)
        self.flights: list[tuple[Any, ModelRunnerOutput]] = []
        self.batch: Any = None
        self.count = 0

    def add(self, *, prompt: int = 20, tokens: int = 400) -> Request:
        self.count += 1
        request = Request(
            request_id=str(self.count),
            prompt_token_ids=[10 + self.count] * prompt,
            sampling_params=SamplingParams(max_tokens=tokens, ignore_eos=True),
            pooling_params=None,
            arrival_time=self.clock.now,
            block_hasher=self.hasher,
        )
        self.scheduler.add_request(request)
        return request

    def step(self, count: int = 1) -> None:
        for _ in range(count):
            batch = self.batch = self.scheduler.schedule()
            ids = list(batch.num_scheduled_tokens)
            sampled = []
            for request_id in ids:
                drafts = batch.scheduled_spec_decode_tokens.get(request_id, ())
                chunk = self.scheduler.requests[request_id].is_prefill_chunk
                sampled.append([] if chunk else [TOKEN] * (1 + min(self.held, len(drafts))))
            places = {request_id: place for place, request_id in enumerate(ids)}
            self.flights.append((batch, ModelRunnerOutput(ids, places, sampled)))
            self.clock.now += STEP_SECONDS
            if len(self.flights) == self.depth:
                self.scheduler.update_from_output(*self.flights.pop(0))
                if self.depth == 1:
                    self.scheduler.update_draft_token_ids(DraftTokenIds(ids, [[TOKEN] * DRAFTS for _ in ids]))
        assert self.scheduler._policy is not None


both = pytest.mark.parametrize("depth", [1, 2], ids=["sync", "async"])


@both
def test_a_short_step_leaves_everybody_who_decodes_their_draft_tokens(depth: int) -> None:
    """A plan's tokens of a step are those that the requests bring; what is drafted for them comes on top."""
    engine = Engine(depth=depth, held=1)
    readers = [engine.add() for _ in range(8)]
    engine.step(4)
    long = engine.add(prompt=400)
    engine.policy.step_tokens = len(readers) + 10
    engine.step()
    tokens = engine.batch.num_scheduled_tokens
    assert {request.request_id: tokens.get(request.request_id) for request in readers} == {
        request.request_id: 1 + DRAFTS for request in readers
    }
    assert tokens[long.request_id] == 10


@both
@pytest.mark.parametrize("held", [0, 2])
def test_the_policy_is_told_what_a_step_brings(depth: int, held: int) -> None:
    engine = Engine(depth=depth, held=held)
    readers = [engine.add() for _ in range(6)]
    engine.step(60)
    engine.add()
    delivered, known = [r.num_output_tokens for r in readers], [r.num_tokens for r in readers]
    engine.step()
    view, at = engine.policy.seen[-1]
    assert at.tokens_per_step == pytest.approx(1 + held, abs=0.1)
    assert at.draft_slots == DRAFTS
    assert view.delivered[:6].tolist() == delivered
    assert view.context[:6].tolist() == known
    assert at.max_step_tokens == 512 - 6 * DRAFTS


@both
def test_draft_tokens_are_no_prefill(depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(depth=depth)
    for _ in range(5):
        engine.add()
    engine.step(3)
    observed: list[dict[str, float]] = []
    monkeypatch.setattr(engine.scheduler._step_time, "observe", lambda **step: observed.append(step))
    engine.step(40)
    assert {(step["prefill_tokens"], step["sequences"]) for step in observed} == {(0, 5)}


@both
def test_an_answer_that_ends_within_a_step_is_as_long_as_it_is(depth: int) -> None:
    engine = Engine(depth=depth, held=DRAFTS)
    request = engine.add(tokens=7)
    row = engine.scheduler._table.batch([request.request_id]).rows[0]
    engine.step(8)
    assert not engine.scheduler.requests
    assert request.num_output_tokens == 7
    assert engine.scheduler._table._columns.numbers[ROW_DELIVERED, row] == 7


@both
def test_who_runs_may_need_blocks_for_draft_tokens(depth: int) -> None:
    """With room for less than all that may be drafted the policy is asked, though nobody waits."""
    engine = Engine(depth=depth, kv_blocks=2 * 9 + 8)
    for _ in range(8):
        engine.add(prompt=12)
    engine.step(2)
    assert len(engine.policy.seen) == 2


def test_draft_tokens_that_no_drafter_made_are_not_verified() -> None:
    """A synchronous engine's drafter had nothing to say of anybody."""
    engine = Engine(depth=1)
    engine.add()
    engine.step()
    engine.scheduler.update_draft_token_ids = lambda drafts: None
    engine.step(2)
    assert not engine.batch.scheduled_spec_decode_tokens


def test_an_engine_that_was_built_async_stays_so() -> None:
    """vLLM's platform code may set the flag anew later, as it does in a server on a CPU."""
    engine = Engine(depth=2, held=1)
    engine.scheduler.scheduler_config.async_scheduling = False
    engine.add()
    engine.step(4)
    assert engine.batch.scheduled_spec_decode_tokens == {"1": [-1] * DRAFTS}
