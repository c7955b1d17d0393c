"""Fuzzes the shipped scheduler class: random arrivals, aborts, preemptions and steps out of blocks, at any depth.

The stand-in runner's token is its position in the sequence, so a right answer is `range(prompt, prompt + n)`: a lost,
doubled or misordered token shows at once. After each phase every KV block must be free again, and the policy must still
be in charge. What the host's memory is said to keep of a request must be what vLLM's lookups find there. Requests come
with shared prefixes, LoRA adapters, grammars that are long in compiling or do not compile, several answers to one
reader, and with any value that a client can put into `vllm_xargs`. With speculative decoding a step brings a request up
to four tokens, or one with all drafts refused. The table must know of as many tokens as the readers got. Where the
policy is one of ours, an idle engine must start somebody in the very step in which somebody can run.
`python -m benchmarks.scheduling.fuzz --steps 1000000` (make scheduler-fuzz).
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from benchmarks.scheduling.virtual_time import VirtualClock, block_hasher, build_scheduler
from vllm.lora.request import LoRARequest
from vllm.sampling_params import SamplingParams, StructuredOutputsParams
from vllm.v1.engine import FinishReason
from vllm.v1.kv_cache_interface import SlidingWindowSpec
from vllm.v1.kv_offload.base import LookupResult, ReqContext, make_offload_key
from vllm.v1.outputs import DraftTokenIds, ModelRunnerOutput
from vllm.v1.request import Request, RequestStatus

from andante.domain.compiled import Ints
from andante.domain.pace import PRESETS
from andante.domain.scheduling.qoe_policy import QoEPolicy
from andante.domain.scheduling.qoe_settings import QoEPolicySettings
from andante.domain.scheduling.view import EngineView, Plan, RequestView, SchedulingPolicy
from andante_vllm import request_args
from andante_vllm.scheduler import QoEScheduler
from andante_vllm.scheduler_settings import Classes, SchedulerSettings
from andante_vllm.virtual_host_link import VirtualHostLink

PHASE_STEPS = 2_000
CLASSES = Classes.of(tuple(PRESETS.values()), "reading")
ODD_VALUES = (1e-300, 0.0, -1.0, 0.01, 1000.0, 1e300, math.nan, math.inf, -math.inf, "abc", True, None, [1], {"a": 1})
"""What a client may put into `vllm_xargs`, past the middleware."""


class FuzzFailureError(AssertionError):
    """The scheduler broke a promise; the message says which, and the seed."""


class AnyText:
    """A grammar that every answer fits."""

    def accept_tokens(self, *_: Any) -> bool:
        return True

    def validate_tokens(self, tokens: list[int]) -> list[int]:
        return tokens

    def is_terminated(self) -> bool:
        return False


class StormPolicy:
    """Admits, takes off and orders at random: anything that a policy may ever answer."""

    def __init__(self, source: random.Random) -> None:
        self._source = source

    def decide(self, requests: RequestView, engine: EngineView) -> Plan | None:
        """See `SchedulingPolicy.decide`."""
        if self._source.random() < 0.2:
            return None
        running = np.flatnonzero(requests.running)
        return Plan(
            admit=self._some(np.flatnonzero(~requests.running), 0.7),
            preempt=self._some(running, 0.08),
            victims=self._some(running, 0.3),
            step_tokens=self._source.choice([None, self._source.randrange(1, 80)]),
        )

    def _some(self, candidates: Ints, share: float) -> Ints:
        chosen = [index for index in candidates.tolist() if self._source.random() < share]
        self._source.shuffle(chosen)
        return np.array(chosen, dtype=np.int64)


@dataclass(slots=True)
class FuzzReport:
    """What a fuzz did."""

    steps: int = 0
    tokens: int = 0
    ended: int = 0
    aborted: int = 0
    preemptions: int = 0
    loads: int = 0
    """Requests whose KV came back from the host's memory."""


def fuzz(
    *,
    steps: int,
    seed: int,
    depth: int = 2,
    prefix_caching: bool = True,
    chunked_prefill: bool = True,
    kv_offload: bool = False,
    speculative: bool = False,
    hybrid: bool = False,
    policy: SchedulingPolicy | None = None,
) -> FuzzReport:
    """`steps` engine steps in phases, each with an engine of its own; `policy` None: a StormPolicy.

    `kv_offload`: KV goes to the host's memory and comes back over a link that takes several steps for it.
    `speculative`: with draft tokens, some of which hold.
    `hybrid`: the model has layers with a sliding window too, whose KV takes blocks of its own.

    Raises FuzzFailureError when a stream is not exact, a block leaks, or requests stop making progress.
    """
    source = random.Random(seed)
    report = FuzzReport()
    phase = 0
    while report.steps < steps:
        engine = _Engine(
            source, policy or StormPolicy(source), depth=depth, prefix_caching=prefix_caching,
            chunked_prefill=chunked_prefill, kv_offload=kv_offload, speculative=speculative, hybrid=hybrid,
            report=report, name=f"seed {seed}, phase {phase}",
        )  # fmt: skip
        engine.run(min(PHASE_STEPS, steps - report.steps))
        phase += 1
    return report


def _window(tokens: int) -> SlidingWindowSpec:
    return SlidingWindowSpec(block_size=16, num_kv_heads=1, head_size=1, dtype=torch.float32, sliding_window=tokens)


class _Engine:
    """One engine: a small KV cache, a queue of steps under way, requests that come and go."""

    def __init__(
        self, source: random.Random, policy: SchedulingPolicy, *, depth: int, prefix_caching: bool,
        chunked_prefill: bool, kv_offload: bool, speculative: bool, hybrid: bool, report: FuzzReport, name: str,
    ) -> None:  # fmt: skip
        self._source, self._depth, self._report, self._name = source, depth, report, name
        self._clock = VirtualClock()
        settings = SchedulerSettings(policy=policy, policy_name="fuzz", classes=lambda: CLASSES)
        # A storm lets in whom it likes, or nobody.
        self._starts_somebody = not isinstance(policy, StormPolicy)

        clock = self._clock

        class Fuzzed(QoEScheduler):
            def now(self) -> float:
                return clock.now

            def wall_clock(self) -> float:
                return clock.now

            def load_settings(self) -> SchedulerSettings:
                return settings

        self._blocks = source.choice([12, 24, 60])
        self._max_loras = source.choice([0, 1, 2])
        drafted_ahead = "ngram" if depth == 1 else "ngram_gpu"  # which is the one that vLLM allows there
        self._draft_tokens = source.randrange(1, 4) if speculative else 0
        self._compiling: list[Future[Any]] = []
        self._hybrid = hybrid
        self._longest = min(self._blocks // (1 + hybrid) * 16 - 40, 300)
        self._scheduler: Any = build_scheduler(
            Fuzzed, kv_blocks=self._blocks, block_size=16, max_num_seqs=source.choice([3, 8, 32]),
            max_num_batched_tokens=source.choice([64, 512]) if chunked_prefill else 16_384,
            prefix_caching=prefix_caching, async_scheduling=depth > 1, chunked_prefill=chunked_prefill,
            offloaded_blocks=source.choice([30, 200]) if kv_offload else 0, max_loras=self._max_loras,
            draft_tokens=self._draft_tokens, draft_method=source.choice([drafted_ahead, "eagle"]),
            more_groups=[_window(source.choice([20, 64]))] if hybrid else (),
        )  # fmt: skip
        self._link: VirtualHostLink | None = None
        if kv_offload:
            self._link = VirtualHostLink(block_bytes=1, bytes_per_second=source.choice([1e9, 1000.0, 50.0]))
        self._hasher = block_hasher(16) if prefix_caching or kv_offload else None
        self._flights: deque[tuple[Any, ModelRunnerOutput]] = deque()
        self._next: dict[str, int] = {}
        """The position of each request's next token, as the runner knows it: vLLM counts drafts before they hold."""
        self._streams: dict[str, list[int]] = {}
        self._open: dict[str, Request] = {}
        self._count = 0

    def run(self, steps: int) -> None:
        """`steps` steps with arrivals and aborts, then without until all have ended."""
        for _ in range(steps):
            if self._source.random() < 0.25 and len(self._open) < 40:
                self._arrive()
            if self._open and self._source.random() < 0.01:
                self._abort(self._source.choice(list(self._open)))
            if self._compiling and self._source.random() < 0.05:
                self._compile(self._compiling.pop(self._source.randrange(len(self._compiling))))
            self._step()
            if self._source.random() < 0.02:
                self._check_table()
            if self._link is not None and self._source.random() < 0.1:
                self._look_at_host()
        idle = 0
        while self._open:
            if self._compiling:
                self._compile(self._compiling.pop())
            before = self._report.tokens + self._report.ended
            self._step()
            idle = idle + 1 if self._report.tokens + self._report.ended == before else 0
            if idle > 5_000:
                raise self._failure(f"no progress with {len(self._open)} requests open")
        while self._flights:
            self._finish()
        pool = self._scheduler.kv_cache_manager.block_pool
        if pool.get_num_free_blocks() != self._blocks:
            raise self._failure(f"{self._blocks - pool.get_num_free_blocks()} KV blocks leaked")
        if self._scheduler._policy is None:
            raise self._failure("the policy has failed")
        if len(self._scheduler._table):
            raise self._failure(f"{len(self._scheduler._table)} rows of ended requests are left in the table")
        host = self._scheduler._seam.host
        if host is not None:
            self._settle_host()
            if host.policy.followed:
                raise self._failure(f"{host.policy.followed} ended requests are left with the host's memory")

    def _look_at_host(self) -> None:
        """What is said to be kept of each request is what vLLM's own lookups find."""
        host, manager = self._scheduler._seam.host, self._scheduler.connector.connector_scheduler.manager
        context = ReqContext(req_id="who looks")
        for request in self._scheduler.requests.values():
            found = 0
            for block_hash in request.block_hashes:
                if manager.lookup(make_offload_key(block_hash, 0), context) is LookupResult.MISS:
                    break
                found += 16
            kept = host.kept(request)
            # Where there are several kinds of attention, all must be found: those with a window bound it further.
            if kept > found or (kept < found and not self._hybrid):
                raise self._failure(f"{request.request_id}: {kept} tokens kept, {found} found")

    def _settle_host(self) -> None:
        """Steps without requests, in which vLLM stores the last chunks."""
        for _ in range(3):
            self._clock.now += 0.05
            batch = self._scheduler.schedule()
            self._link.begin(batch.kv_connector_metadata, self._clock.now)
            self._deliver(batch, self._compute(batch))

    def _arrive(self) -> None:
        self._count += 1
        request_id = f"r{self._count}"
        prompt = self._source.randrange(1, self._longest // 2)
        request = Request(
            request_id=request_id,
            # Some share a prefix, so that the cache hits and blocks are shared.
            prompt_token_ids=[self._source.choice([5, self._count + 1000])] * prompt,
            sampling_params=SamplingParams(
                max_tokens=self._source.randrange(1, self._longest // 2),
                ignore_eos=True,
                temperature=0,
                extra_args=self._arguments(),
                structured_outputs=StructuredOutputsParams(regex=".*") if self._source.random() < 0.1 else None,
            ),
            pooling_params=None,
            arrival_time=self._clock.now,
            block_hasher=self._hasher,
            lora_request=self._adapter(),
        )
        if request.structured_output_request is not None:
            grammar: Future[Any] = Future()
            request.structured_output_request.grammar = grammar
            self._compiling.append(grammar)
        self._open[request_id] = request
        self._streams[request_id] = []
        self._scheduler.add_request(request)

    def _arguments(self) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            request_args.CLASS: self._source.choice(["reading", "batch", "chat-interactive", "none such", 3]),
            request_args.RECEIVED_AT: self._clock.now,
        }
        for key in (request_args.PACE, request_args.EXPECTED_TTFT, request_args.RECEIVED_AT, request_args.CHOICES):
            if self._source.random() < 0.1:
                arguments[key] = self._source.choice(ODD_VALUES)
        if self._source.random() < 0.1:
            arguments[request_args.CHOICES] = self._source.choice([2, 100])
        return arguments

    def _adapter(self) -> LoRARequest | None:
        if not self._max_loras or self._source.random() < 0.5:
            return None
        number = self._source.randrange(1, 5)
        return LoRARequest(str(number), number, "/nowhere")

    def _compile(self, grammar: Future[Any]) -> None:
        if self._source.random() < 0.1:
            grammar.set_exception(ValueError("no such grammar"))
        else:
            grammar.set_result(AnyText())

    def _abort(self, request_id: str) -> None:
        self._scheduler.finish_requests(request_id, RequestStatus.FINISHED_ABORTED)
        self._check(request_id, whole=False)
        self._report.aborted += 1

    def _step(self) -> None:
        self._report.steps += 1
        self._clock.now += 0.05
        if self._scheduler.has_requests():
            somebody = self._somebody_can_start()
            batch = self._scheduler.schedule()
            if somebody and not self._scheduler.running and not self._scheduler.kv_holding_waiting:
                raise self._failure("an idle engine starts nobody")
            running = self._scheduler.running
            adapters = {request.lora_request.lora_int_id for request in running if request.lora_request is not None}
            if len(adapters) > self._max_loras:
                raise self._failure(f"{len(adapters)} adapters run, {self._max_loras} at most may")
            flight = (batch, self._compute(batch))
            if self._link is not None:
                self._link.begin(batch.kv_connector_metadata, self._clock.now)
            if batch.total_num_scheduled_tokens == 0:
                self._deliver(*flight)
            else:
                self._flights.append(flight)
                if len(self._flights) < self._depth:
                    return
        if self._flights:
            self._finish()

    def _somebody_can_start(self) -> bool:
        """Whether nothing runs or is under way, and a request waits for nothing but to be let in."""
        idle = not (self._flights or self._scheduler.running or self._scheduler.kv_holding_waiting)
        if not self._starts_somebody or not idle or self._link is not None:
            return False
        return any(
            request.status in (RequestStatus.WAITING, RequestStatus.PREEMPTED) for request in self._scheduler.waiting
        )

    def _compute(self, batch: Any) -> ModelRunnerOutput:
        ids = list(batch.num_scheduled_tokens)
        requests = self._scheduler.requests
        started = {new.req_id for new in batch.scheduled_new_reqs} | batch.scheduled_cached_reqs.resumed_req_ids
        for request_id in started:
            self._next[request_id] = requests[request_id].num_tokens
        sampled: list[list[int]] = []
        for request_id in ids:
            drafts = batch.scheduled_spec_decode_tokens.get(request_id, ())
            if self._depth == 1 and -1 in drafts and request_id not in started:
                raise self._failure(f"{request_id}: draft tokens that no drafter made")
            if requests[request_id].is_prefill_chunk:
                sampled.append([])
                continue
            # vLLM pads whoever starts; nothing of that can hold.
            held = 0 if request_id in started else self._source.randint(0, len(drafts))
            position = self._next[request_id]
            sampled.append(list(range(position, position + 1 + held)))
            self._next[request_id] = position + 1 + held
        return ModelRunnerOutput(
            req_ids=ids,
            req_id_to_index={request_id: index for index, request_id in enumerate(ids)},
            sampled_token_ids=sampled,
        )

    def _finish(self) -> None:
        self._deliver(*self._flights.popleft())

    def _deliver(self, batch: Any, output: ModelRunnerOutput) -> None:
        if self._link is not None:
            arrived = self._link.arrived(self._clock.now)
            self._report.loads += len(arrived.finished_recving or ())
            output.kv_connector_output = arrived
        for client in self._scheduler.update_from_output(batch, output).values():
            for answer in client.outputs:
                if answer.request_id not in self._open:
                    raise self._failure(f"{answer.request_id} got tokens after its end")
                self._streams[answer.request_id].extend(answer.new_token_ids)
                self._report.tokens += len(answer.new_token_ids)
                if answer.finish_reason is not None:
                    self._check(answer.request_id, whole=answer.finish_reason is not FinishReason.ERROR)
                    self._report.ended += 1
        # A drafter may have nothing to say, of some requests or at all.
        if self._draft_tokens and self._depth == 1 and self._source.random() < 0.9:
            drafts = [[5] * self._source.randint(0, self._draft_tokens) for _ in output.req_ids]
            self._scheduler.update_draft_token_ids(DraftTokenIds(output.req_ids, drafts))

    def _check_table(self) -> None:
        """What the policy would be told of each is what its reader got."""
        table = self._scheduler._table
        view, rows = table.view(self._clock.now, prefilling=[])
        for request_id, counted in zip(table.names(rows), view.delivered.tolist(), strict=True):
            if counted != len(self._streams[request_id]):
                raise self._failure(f"{request_id}: {counted} tokens counted, {len(self._streams[request_id])} given")

    def _check(self, request_id: str, *, whole: bool) -> None:
        request, stream = self._open.pop(request_id), self._streams.pop(request_id)
        self._report.preemptions += request.num_preemptions
        start = request.num_prompt_tokens
        wanted = list(range(start, start + (request.max_tokens if whole else len(stream))))
        if stream != wanted:
            raise self._failure(f"{request_id}: prompt of {start} tokens answered by {stream[:20]}…")

    def _failure(self, what: str) -> FuzzFailureError:
        return FuzzFailureError(f"{self._name}, step {self._report.steps}: {what}")


def main() -> int:
    """Fuzzes for `--steps` steps over all modes in turn; 0 when nothing broke."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100_000, help="engine steps in all (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    switch = (False, True)
    modes = list(product((1, 2), switch, switch, switch, switch, switch, (StormPolicy, QoEPolicy)))
    for index, (depth, caching, chunked, offload, speculative, hybrid, policy) in enumerate(modes):
        started = time.perf_counter()
        report = fuzz(
            steps=arguments.steps // len(modes),
            seed=arguments.seed + index,
            depth=depth,
            prefix_caching=caching,
            chunked_prefill=chunked,
            kv_offload=offload,
            speculative=speculative,
            hybrid=hybrid,
            policy=QoEPolicy(QoEPolicySettings(kv_offload=offload)) if policy is QoEPolicy else None,
        )
        print(
            f"depth {depth}, prefix caching {caching}, chunked prefill {chunked}, KV offload {offload}, "
            f"speculative {speculative}, hybrid {hybrid}, {policy.__name__}: {report} "
            f"in {time.perf_counter() - started:.0f} s",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
