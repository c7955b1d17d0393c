"""Drives a real vLLM scheduler class in virtual time: no model, no sleeping, each step lasts what a profile says.

Everything above the model is vLLM's own: scheduler, KV block manager, prefix cache. The runner is a stand-in that
returns a token whenever vLLM asks for one, and the request's stop token at its true length, so that a policy cannot
know the length. Tokens count as delivered when the step that made them ends.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.scheduling.patience import Readers
from benchmarks.scheduling.workload import CHUNK, MAX_MODEL_LEN, Workload
from numpy.typing import NDArray
from vllm.config import (
    CacheConfig,
    KVTransferConfig,
    LoRAConfig,
    ModelConfig,
    ParallelConfig,
    SchedulerConfig,
    SpeculativeConfig,
    VllmConfig,
)
from vllm.sampling_params import SamplingParams
from vllm.utils.hashing import sha256_cbor
from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
from vllm.v1.core.single_type_kv_cache_manager import register_all_kvcache_specs
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec, KVCacheSpec, MambaSpec
from vllm.v1.outputs import DraftTokenIds, ModelRunnerOutput
from vllm.v1.request import Request, RequestStatus
from vllm.v1.structured_output import StructuredOutputManager

from andante.domain.step_time import Profile
from andante_vllm import request_args
from andante_vllm.launch import kv_transfer
from andante_vllm.tiny_model import make_model
from andante_vllm.virtual_drafts import VirtualDrafts
from andante_vllm.virtual_host_link import VirtualHostLink, connector_bytes

STOP_TOKEN = 3
TOKEN = 7
_FIRST_CHUNK = 1_000_000
"""From here on tokens name chunks of prompts; those below are single prompts'."""


class VirtualClock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What happened to a workload."""

    delivery: tuple[NDArray[np.float64], ...]
    """Per request the times of its tokens, seconds since its arrival."""
    end: float
    """When the last request ended, seconds."""
    steps: int
    preemptions: int
    recomputed_tokens: int
    """Prefill tokens computed again after a preemption (prefix-cache hits excluded)."""
    busy_seconds: float
    finish: NDArray[np.float64]
    """When each request ended, seconds from the start."""
    left: NDArray[np.float64]
    """Seconds since its arrival after which each reader left; NaN: had all of the answer."""


@cache
def _model_directory(max_model_len: int) -> str:
    # A config.json without weights, rewritten each time.
    folder = Path(f"/tmp/andante-virtual-time-model-{max_model_len}")  # noqa: S108
    return str(make_model(folder, max_model_len=max_model_len))


def build_scheduler(
    scheduler_class: type[Any],
    *,
    kv_blocks: int,
    block_size: int,
    max_num_seqs: int,
    max_num_batched_tokens: int,
    prefix_caching: bool = True,
    policy: str = "fcfs",
    async_scheduling: bool = False,
    chunked_prefill: bool = True,
    offloaded_blocks: int = 0,
    watermark: float = 0.0,
    long_prefill: int = 0,
    max_model_len: int = MAX_MODEL_LEN,
    max_loras: int = 0,
    draft_tokens: int = 0,
    draft_method: str = "ngram",
    more_groups: Sequence[KVCacheSpec] = (),
) -> Any:
    """An instance of `scheduler_class` as vLLM's engine core would build it, with `kv_blocks` usable blocks.

    `offloaded_blocks`: what vLLM's OffloadingConnector keeps in the host's memory; 0: there is none.
    `watermark`: share of the blocks that vLLM's own admissions leave free.
    `long_prefill`: vLLM's threshold for prompts of which a step computes no more than that; 0: there is none.
    `max_loras`: LoRA adapters in a batch at most; 0: there are none.
    `draft_tokens`: speculative decoding with so many draft tokens a step, by `draft_method`; 0: there is none.
    `more_groups`: the model's layers that have not full attention, by the kind of their KV cache.
    """
    config = VllmConfig(
        model_config=ModelConfig(
            model=_model_directory(max_model_len),
            skip_tokenizer_init=True,
            dtype="float32",
            max_model_len=max_model_len,
        ),
        cache_config=CacheConfig(block_size=block_size, enable_prefix_caching=prefix_caching),
        parallel_config=ParallelConfig(),
        scheduler_config=SchedulerConfig(
            max_num_seqs=max_num_seqs,
            max_num_batched_tokens=max_num_batched_tokens,
            max_model_len=max_model_len,
            long_prefill_token_threshold=long_prefill,
            is_encoder_decoder=False,
            policy=policy,
            enable_chunked_prefill=chunked_prefill,
            watermark=watermark,
        ),
    )
    if any(isinstance(kind, MambaSpec) for kind in more_groups):
        config.cache_config.mamba_cache_mode = "align"
    if max_loras:
        config.lora_config = LoRAConfig(max_loras=max_loras)
    if draft_tokens:
        config.speculative_config = _speculative(config, draft_tokens, draft_method)
    if offloaded_blocks:
        config.kv_transfer_config = KVTransferConfig(**kv_transfer(connector_bytes(offloaded_blocks)))
    config.scheduler_config.async_scheduling = async_scheduling
    config.cache_config.num_gpu_blocks = kv_blocks + 1  # vLLM keeps one block for itself
    register_all_kvcache_specs(config)
    spec = FullAttentionSpec(block_size=block_size, num_kv_heads=1, head_size=1, dtype=torch.float32)
    return scheduler_class(
        vllm_config=config,
        kv_cache_config=KVCacheConfig(
            num_blocks=kv_blocks + 1,
            kv_cache_tensors=[],
            kv_cache_groups=[KVCacheGroupSpec([f"layer {i}"], kind) for i, kind in enumerate((spec, *more_groups))],
        ),
        structured_output_manager=StructuredOutputManager(config),
        block_size=block_size,
        hash_block_size=block_size,
        log_stats=False,
    )


def _speculative(config: VllmConfig, tokens: int, method: str) -> SpeculativeConfig:
    speculative = SpeculativeConfig(
        method="ngram",
        num_speculative_tokens=tokens,
        prompt_lookup_max=2,
        target_model_config=config.model_config,
        target_parallel_config=config.parallel_config,
    )
    # The scheduler asks for no more of a method than its name; a draft model of that kind would have to be loaded.
    object.__setattr__(speculative, "method", method)
    return speculative


def block_hasher(block_size: int) -> Callable[[Request], list[Any]]:
    """What the engine core gives to requests when prefix caching is on."""
    init_none_hash(sha256_cbor)
    return get_request_block_hasher(block_size, sha256_cbor)  # type: ignore[no-any-return]


def make_requests(workload: Workload, *, hasher: Callable[[Request], list[Any]] | None) -> list[Request]:
    """The workload's requests as the engine core receives them; request id = index."""
    requests: list[Request] = []
    for index in range(workload.requests):
        prompt = int(workload.prompt_tokens[index])
        before = -1 if workload.follows is None else int(workload.follows[index])
        known = [9] * workload.common_prefix
        if before >= 0:
            answer = int(workload.output_tokens[before])
            known = [*(requests[before].prompt_token_ids or ()), *[TOKEN] * (answer - 1), STOP_TOKEN]
        if workload.chunks is not None:
            chunks = workload.chunks[index]
            known = [_FIRST_CHUNK + name for name in chunks for _ in range(CHUNK)][:prompt]
        arrival = float(workload.arrival[index])
        qoe_class = workload.classes[int(workload.class_of[index])]
        requests.append(
            Request(
                request_id=str(index),
                # Beyond what is known already no two requests share anything.
                prompt_token_ids=known + [10 + index] * (prompt - len(known)),
                sampling_params=SamplingParams(
                    max_tokens=workload.max_model_len - prompt,
                    stop_token_ids=[STOP_TOKEN],
                    temperature=0,
                    extra_args={request_args.CLASS: qoe_class.name, request_args.RECEIVED_AT: arrival},
                ),
                pooling_params=None,
                arrival_time=arrival,
                block_hasher=hasher,
                # Tighter paces first: what an operator with vLLM's priorities can do.
                priority=-round(qoe_class.pace * 100),
            )
        )
    return requests


def run_workload(
    workload: Workload,
    *,
    scheduler: Any,
    clock: VirtualClock,
    profile: Profile,
    prefix_caching: bool = True,
    depth: int = 1,
    link: VirtualHostLink | None = None,
    drafts: VirtualDrafts | None = None,
    until: Callable[[int], bool] | None = None,
    observer: Callable[[float, Any], None] | None = None,
) -> Run:
    """Serves `workload` to its end on one virtual GPU. `depth` 2 is async scheduling: the next step is scheduled while
    one runs. `link` carries the KV that the scheduler's connector offloads. `drafts`: which draft tokens hold.
    `until(completed)` ends the run early. `observer(now, scheduler)` looks on after every step.
    """
    hasher = block_hasher(profile.block_size) if prefix_caching else None
    requests = make_requests(workload, hasher=hasher)
    lengths = workload.output_tokens.tolist()
    arrivals = workload.arrival.tolist()
    emitted = [0] * len(requests)
    readers = Readers(workload) if workload.patience is not None else None
    by_id: Mapping[str, Request] = scheduler.requests
    flights: deque[tuple[Any, ModelRunnerOutput, float, list[int]]] = deque()
    times: list[float] = []
    counts: list[int] = []
    owners: list[list[int]] = []
    finish = np.full(len(requests), np.nan)
    arrived = completed = steps = recomputed = 0
    busy = busy_until = 0.0
    clock.now = 0.0
    gc_was_enabled = gc.isenabled()
    gc.disable()  # millions of short-lived objects, no cycles worth a full collection each second
    try:
        while completed < len(requests):
            while arrived < len(requests) and arrivals[arrived] <= clock.now:
                scheduler.add_request(requests[arrived])
                if readers is not None:
                    readers.arrived(arrived)
                arrived += 1
            if readers is not None:
                gone = readers.leave(clock.now)
                if gone:
                    scheduler.finish_requests([str(index) for index in gone], RequestStatus.FINISHED_ABORTED)
                    finish[gone] = clock.now
                    completed += len(gone)
                    continue
            if len(flights) < depth and scheduler.has_requests():
                batch = scheduler.schedule()
                output, seconds, owner, again = _execute(batch, by_id, profile, lengths, emitted, drafts)
                recomputed += again
                start = max(clock.now, busy_until)
                if link is not None:
                    start = link.begin(batch.kv_connector_metadata, start)
                if batch.total_num_scheduled_tokens:
                    busy_until = start + seconds
                    busy += seconds
                    steps += 1
                    flights.append((batch, output, busy_until, owner))
                    if len(flights) < depth:
                        continue
                elif not flights:
                    if link is not None:
                        output.kv_connector_output = link.arrived(clock.now)
                    scheduler.update_from_output(batch, output)
                    # Nothing runs and nothing may be admitted yet: time passes until something changes.
                    upcoming = arrivals[arrived] if arrived < len(requests) else clock.now + 0.05
                    if link is not None:
                        upcoming = min(upcoming, link.next_arrival() or upcoming)
                    clock.now = min(upcoming, clock.now + 0.05)
                    continue
                else:
                    scheduler.update_from_output(batch, output)
            if not flights:
                if arrived == len(requests):
                    raise RuntimeError(f"stuck: {completed} of {len(requests)} requests ended and none is left to run")
                clock.now = arrivals[arrived]
                continue
            batch, output, due, owner = flights.popleft()
            clock.now = max(clock.now, due)
            if readers is not None:
                owner = readers.got(owner, clock.now)
            times.append(clock.now)
            counts.append(len(owner))
            owners.append(owner)
            if link is not None:
                output.kv_connector_output = link.arrived(clock.now)
            scheduler.update_from_output(batch, output)
            if drafts is not None and depth == 1:  # with async scheduling they stay on the device
                ahead = [[TOKEN] * scheduler.num_spec_tokens if tokens else [] for tokens in output.sampled_token_ids]
                scheduler.update_draft_token_ids(DraftTokenIds(output.req_ids, ahead))
            if observer is not None:
                observer(clock.now, scheduler)
            for index in owner:
                if emitted[index] >= lengths[index] and np.isnan(finish[index]) and str(index) not in by_id:
                    finish[index] = clock.now
                    completed += 1
                    if readers is not None:
                        readers.ended(index)
            if until is not None and until(completed):
                break
    finally:
        if gc_was_enabled:
            gc.enable()
    preemptions = sum(request.num_preemptions for request in requests)
    return Run(
        delivery=_timelines(times, counts, owners, workload),
        end=clock.now,
        steps=steps,
        preemptions=preemptions,
        recomputed_tokens=recomputed,
        busy_seconds=busy,
        finish=finish,
        left=readers.left if readers is not None else np.full(len(requests), np.nan),
    )


def _execute(
    batch: Any,
    by_id: Mapping[str, Request],
    profile: Profile,
    lengths: list[int],
    emitted: list[int],
    drafts: VirtualDrafts | None,
) -> tuple[ModelRunnerOutput, float, list[int], int]:
    """One step of the stand-in runner: its output, its seconds, who got a token, how many tokens were recomputed.

    Who got several tokens is named as often.
    """
    prefill = pairs = decodes = context = recomputed = drafted = 0
    started = {new.req_id for new in batch.scheduled_new_reqs} | batch.scheduled_cached_reqs.resumed_req_ids
    sampled: list[list[int]] = []
    owner: list[int] = []
    ids = list(batch.num_scheduled_tokens)
    for request_id, scheduled in batch.num_scheduled_tokens.items():
        request = by_id[request_id]
        ahead = len(batch.scheduled_spec_decode_tokens.get(request_id, ()))
        drafted += ahead
        tokens = scheduled - ahead
        done = request.num_computed_tokens - ahead  # this step's tokens are in it already
        if tokens == 1 and done > request.num_prompt_tokens:
            decodes += 1
            context += done
        else:
            prefill += tokens
            pairs += tokens * (done - tokens) + tokens * (tokens + 1) // 2
            if request.num_preemptions:
                recomputed += tokens
        if request.is_prefill_chunk:
            sampled.append([])
            continue
        index = int(request_id)
        if emitted[index] >= lengths[index]:  # scheduled while its last token was under way
            emitted[index] += 1
            sampled.append([TOKEN])
            continue
        # Whoever starts may be padded to as many tokens as the others have; nobody drafted those.
        held = drafts.held(request_id, emitted[index], ahead) if drafts is not None and request_id not in started else 0
        brought = min(1 + held, lengths[index] - emitted[index])
        emitted[index] += brought
        last = STOP_TOKEN if emitted[index] == lengths[index] else TOKEN
        sampled.append([TOKEN] * (brought - 1) + [last])
        owner += [index] * brought
    output = ModelRunnerOutput(
        req_ids=ids,
        req_id_to_index={request_id: position for position, request_id in enumerate(ids)},
        sampled_token_ids=sampled,
    )
    seconds = profile.coefficients.step_seconds(
        prefill_tokens=prefill, prefill_pairs=pairs, decode_seqs=decodes, context_tokens=context, draft_tokens=drafted
    )
    return output, seconds, owner, recomputed


def _timelines(
    times: list[float], counts: list[int], owners: list[list[int]], workload: Workload
) -> tuple[NDArray[np.float64], ...]:
    if not times:
        return tuple(np.empty(0) for _ in range(workload.requests))
    who = np.concatenate([np.asarray(owner, dtype=np.int64) for owner in owners])
    when = np.repeat(np.asarray(times), counts) - workload.arrival[who]
    order = np.argsort(who, kind="stable")
    edges = np.searchsorted(who[order], np.arange(workload.requests + 1))
    ordered = when[order]
    return tuple(ordered[edges[i] : edges[i + 1]] for i in range(workload.requests))
