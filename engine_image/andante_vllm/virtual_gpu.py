"""Simulates a GPU: vLLM's executor without the matrix products, with each step's time from a profile.

vLLM loads the executor by `--distributed-executor-backend`. All parts above it are real: API server, tokenizer, engine
core, scheduler, KV block manager, prefix cache, metrics. Tests, benchmarks and demos without a GPU use it. It cannot
show numerics, GPU memory behaviour or CUDA graphs, and it is only as accurate as its profile.

The "model" repeats its prompt without stop tokens: output token k of a request is token k of the prompt, again and
again, unless a grammar forbids it (`virtual_choice`). So a lost, doubled, misordered or mixed-up token shows at once,
with any preemption, pause or resume, and any refused draft tokens (`virtual_drafts`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import torch
from vllm.logger import init_logger
from vllm.tokenizers import cached_tokenizer_from_config
from vllm.v1.core.sched.output import GrammarOutput, SchedulerOutput
from vllm.v1.executor.abstract import Executor
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheSpec
from vllm.v1.outputs import DraftTokenIds, LogprobsLists, ModelRunnerOutput

from andante.domain.step_time import Profile, StepTimeCoefficients, host_step_seconds, prefill_pairs
from andante.engine_config import VirtualGPUConfig
from andante.profiles import load_profiles
from andante_vllm.settings import ConfigError, engine_config_path, read_engine_config
from andante_vllm.virtual_choice import CLOSING, allowed_token, logprob_rows
from andante_vllm.virtual_drafts import VirtualDrafts
from andante_vllm.virtual_host_link import VirtualHostLink, connector_bytes

logger = init_logger("vllm.andante.virtual_gpu")  # loggers outside the vllm tree print nothing

_MOST_LOGPROBS = 20
"""Log probabilities of a request that asks for all."""
_DRAFTS_AHEAD, _DRAFTS_ON_THE_DEVICE = "ngram", "ngram_gpu"
"""Methods of speculative decoding without a draft model; vLLM allows async scheduling only with the second."""


@dataclass(slots=True)
class _Sequence:
    """The device's state of one request."""

    script: list[int]
    """The tokens that the device repeats."""
    prompt_tokens: int
    next: int
    """The position of the next token."""
    stop: frozenset[int] = frozenset()
    """Tokens that end the answer; used only under a grammar."""
    logprobs: int | tuple[int, ...] | None = None
    """For how many tokens, or for which, the request wants log probabilities; None: for none."""
    grammar: bool = False
    """Whether a grammar limits the tokens; then no draft token is accepted."""

    def say(self, tokens: int) -> list[int]:
        """The next `tokens` tokens."""
        start, self.next = self.next, self.next + tokens
        return [self.token(position) for position in range(start, self.next)]

    def token(self, position: int) -> int:
        """The token at `position` of the sequence (0 is the first prompt token; position >= prompt_tokens)."""
        return self.script[(position - self.prompt_tokens) % len(self.script)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """A running step."""

    due: float
    """When the step ends, `time.perf_counter()` seconds."""
    output: ModelRunnerOutput
    drafted: dict[str, int]
    """Number of draft tokens of each request with draft tokens."""


class _DueOutput(Future[ModelRunnerOutput]):
    """The output of a step; `result()` returns when the device would have finished it."""

    def __init__(self, step: _Step) -> None:
        super().__init__()
        self._step = step

    def result(self, timeout: float | None = None) -> ModelRunnerOutput:
        remaining = self._step.due - time.perf_counter()
        if remaining > 0:
            time.sleep(remaining)
        return self._step.output


class VirtualDevice:
    """Turns batches into tokens and durations, without a clock and without vLLM's executor."""

    def __init__(self, coefficients: StepTimeCoefficients, drafts: VirtualDrafts) -> None:
        self._coefficients, self._drafts = coefficients, drafts
        self._sequences: dict[str, _Sequence] = {}

    def run(self, batch: SchedulerOutput) -> tuple[ModelRunnerOutput, float]:
        """The output of one step, and the step's duration in seconds.

        A request samples a token in the step in which its computed tokens reach its known length, as on a GPU, together
        with its accepted draft tokens.
        """
        for request_id in batch.finished_req_ids:
            self._sequences.pop(request_id, None)
        computed: dict[str, tuple[int, int]] = {}  # request id -> (computed tokens, known length)
        started = {new.req_id for new in batch.scheduled_new_reqs}
        for new in batch.scheduled_new_reqs:
            prompt = new.prompt_token_ids
            if not prompt:
                raise ValueError("the virtual GPU repeats token ids: prompt embeddings are not supported")
            stop = new.sampling_params.all_stop_token_ids if new.sampling_params else frozenset()
            script = [token for token in prompt if token not in stop] or [0]
            # A request that was preempted before the end of its first step may come back as new, with output tokens.
            known = len(new.prefill_token_ids) if new.prefill_token_ids else len(prompt)
            self._sequences[new.req_id] = _Sequence(
                script, len(prompt), known, stop=frozenset(stop), logprobs=_wanted_logprobs(new.sampling_params),
                grammar=bool(new.sampling_params and new.sampling_params.structured_outputs),
            )  # fmt: skip
            computed[new.req_id] = (new.num_computed_tokens, known)
        cached = batch.scheduled_cached_reqs
        for request_id, done, outputs in zip(
            cached.req_ids, cached.num_computed_tokens, cached.num_output_tokens, strict=True
        ):
            sequence = self._sequences[request_id]
            known = sequence.prompt_tokens + outputs
            computed[request_id] = (done, known)
            if request_id in cached.resumed_req_ids:
                started.add(request_id)
                sequence.next = known
            # Otherwise only the device knows: the scheduler counts drafts of the last step that may have been refused.

        prefill_tokens = pairs = decode_seqs = context_tokens = draft_tokens = 0
        sampled: list[list[int]] = []
        for request_id, tokens in batch.num_scheduled_tokens.items():
            sequence = self._sequences[request_id]
            done, known = computed[request_id]
            drafted = len(batch.scheduled_spec_decode_tokens.get(request_id, ()))
            own = tokens - drafted
            draft_tokens += drafted
            if own == 1 and done >= sequence.prompt_tokens and done + 1 >= known:
                decode_seqs += 1
                context_tokens += done + 1
            else:
                prefill_tokens += own
                pairs += prefill_pairs(tokens=own, offset=done)
            if done + own < known:
                sampled.append([])
                continue
            # A starting request may be padded to the others' number of tokens; these were not drafted.
            nothing = sequence.grammar or request_id in started
            held = 0 if nothing else self._drafts.held(request_id, sequence.next, drafted)
            sampled.append(sequence.say(1 + held))
        request_ids = list(batch.num_scheduled_tokens)
        output = ModelRunnerOutput(
            req_ids=request_ids,
            req_id_to_index={request_id: index for index, request_id in enumerate(request_ids)},
            sampled_token_ids=sampled,
        )
        seconds = self._coefficients.step_seconds(
            prefill_tokens=prefill_tokens,
            prefill_pairs=pairs,
            decode_seqs=decode_seqs,
            context_tokens=context_tokens,
            draft_tokens=draft_tokens,
        )
        return output, seconds

    def draft(self, output: ModelRunnerOutput, tokens: int) -> DraftTokenIds:
        """The device's next `tokens` tokens for each request with a token in the step of `output`."""
        drafts: list[list[int]] = []
        for request_id, said in zip(output.req_ids, output.sampled_token_ids, strict=True):
            sequence = self._sequences.get(request_id)
            ahead = tokens if said and sequence is not None and not sequence.grammar else 0
            drafts.append([] if sequence is None else [sequence.token(sequence.next + place) for place in range(ahead)])
        return DraftTokenIds(output.req_ids, drafts)

    def sample(
        self,
        output: ModelRunnerOutput,
        grammar: GrammarOutput | None,
        closing: Callable[[], Sequence[int]],
        drafted: Mapping[str, int],
    ) -> None:
        """Complete a step's output: tokens under a grammar, and log probabilities.

        `closing`: the tokens that end a part of a JSON document, the innermost first. `drafted`: number of draft tokens
        of each request; each draft token has a row in a grammar's mask.
        """
        sampled = output.sampled_token_ids
        if grammar is not None:
            row = 0
            for request_id in grammar.structured_output_request_ids:
                index, first = output.req_id_to_index.get(request_id), row
                row += 1 + drafted.get(request_id, 0)
                if index is not None and sampled[index]:
                    mask, stop = grammar.grammar_bitmask[first], self._sequences[request_id].stop
                    sampled[index] = [allowed_token(sampled[index][0], mask, stop=stop, closing=closing())]
        places: list[int] = []  # each request's first row
        said: list[int | None] = []
        wanted: list[int | tuple[int, ...] | None] = []
        for request_id, tokens in zip(output.req_ids, sampled, strict=True):
            places.append(len(said))
            said += tokens or [None]
            wanted += [self._sequences[request_id].logprobs] * max(len(tokens), 1)
        rows = logprob_rows(said, wanted)
        if rows is not None:
            output.logprobs = LogprobsLists(*rows, places)


def _wanted_logprobs(params: Any) -> int | tuple[int, ...] | None:
    if params is None:
        return None
    if params.logprob_token_ids:
        return tuple(params.logprob_token_ids)
    if params.logprobs is None:
        return None
    return params.logprobs if params.logprobs >= 0 else _MOST_LOGPROBS


class VirtualGPUExecutor(Executor):
    """One device that runs one step at a time, with the settings `virtualGpu` of engine.yaml.

    With async scheduling, as on a real GPU, the engine core submits the next step while one runs. The next step starts
    when the running step ends, so the scheduler's time is hidden. Without async scheduling, each step includes the
    host's time between two steps. A profile's step already contains this time, so the real host time is not added.
    """

    def _init_executor(self) -> None:
        settings = read_engine_config(engine_config_path()).virtual_gpu
        if settings is None:
            raise ConfigError("virtualGpu: must be set in engine.yaml for the virtual GPU to run")
        speculative = self.speculative_config
        if speculative is not None and speculative.method not in (_DRAFTS_AHEAD, _DRAFTS_ON_THE_DEVICE):
            raise ConfigError(
                f"virtualGpu: no draft model is computed, so that speculative decoding must be of method "
                f"{_DRAFTS_AHEAD!r} or {_DRAFTS_ON_THE_DEVICE!r}, not {speculative.method!r}"
            )
        profile = load_profiles()[settings.profile]
        self._settings: VirtualGPUConfig = settings
        self._kv_capacity_tokens = settings.kv_capacity_tokens or profile.kv_capacity_tokens
        drafts = VirtualDrafts(acceptance=settings.draft_acceptance)
        self._device = VirtualDevice(profile.coefficients.scaled(settings.time_scale), drafts)
        self._said: ModelRunnerOutput | None = None
        self._host_scale = settings.time_scale
        self._busy_until = 0.0
        self._step: _Step | None = None
        self._closing: list[int] | None = None
        self._link = self._host_link(profile)
        # The CPU platform switches async scheduling off. This code runs before the engine core builds its scheduler and
        # its queue of batches, which read this flag.
        asynchronous = settings.async_scheduling and (speculative is None or speculative.method != _DRAFTS_AHEAD)
        self.scheduler_config.async_scheduling = asynchronous
        self._drafts_ahead = 0 if asynchronous else self.vllm_config.num_speculative_tokens
        logger.info(
            "Virtual GPU: profile %s, time scale %g, KV cache of %d tokens, %s scheduling",
            profile.name,
            settings.time_scale,
            self._kv_capacity_tokens,
            "async" if asynchronous else "synchronous",
        )

    def _host_link(self, profile: Profile) -> VirtualHostLink | None:
        """The link to the host's memory, where the engine offloads KV to it."""
        transfer = self.vllm_config.kv_transfer_config
        if transfer is None:
            return None
        link = VirtualHostLink.of(profile, block_size=self.cache_config.block_size, time_scale=self._host_scale)
        settings = transfer.kv_connector_extra_config
        settings["cpu_bytes_to_use"] = connector_bytes(link.blocks_in(settings["cpu_bytes_to_use"]))
        return link

    @classmethod
    def supports_async_scheduling(cls) -> bool:
        return True

    def _kv_cache_spec(self) -> FullAttentionSpec:
        # The smallest possible page: KV is counted, not stored.
        return FullAttentionSpec(
            block_size=self.cache_config.block_size, num_kv_heads=1, head_size=1, dtype=torch.float16
        )

    def determine_available_memory(self) -> list[int]:
        spec = self._kv_cache_spec()
        blocks = self._kv_capacity_tokens // spec.block_size + 1  # the engine reserves one block
        return [blocks * spec.page_size_bytes]

    def get_kv_cache_specs(self) -> list[dict[str, KVCacheSpec]]:
        return [{"virtual": self._kv_cache_spec()}]

    def get_supported_kv_cache_layouts(self) -> list[list[str]]:
        return [["NHD"]]

    def set_kv_cache_layout(self, layout_name: str) -> None:
        pass

    def initialize_from_config(self, kv_cache_configs: list[KVCacheConfig]) -> None:
        pass

    def compile_or_warm_up_model(self) -> None:
        pass

    def collective_rpc(
        self,
        method: str | Callable[..., Any],
        timeout: float | None = None,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        non_block: bool = False,
    ) -> Any:
        answer = [("generate",)] if method == "get_supported_tasks" else [None]
        if not non_block:
            return answer
        future: Future[Any] = Future()
        future.set_result(answer)
        return future

    def execute_model(self, scheduler_output: SchedulerOutput, non_block: bool = False) -> Any:
        """Start a step; return None (a Future of None if `non_block`), as `sample_tokens` returns the output."""
        output, seconds = self._device.run(scheduler_output)
        host_seconds = self._host_scale * host_step_seconds(len(scheduler_output.num_scheduled_tokens))
        start = max(self._busy_until, time.perf_counter() - host_seconds)
        if self._link is not None:
            start = self._link.begin(scheduler_output.kv_connector_metadata, start)
        if scheduler_output.total_num_scheduled_tokens == 0:
            if self._link is not None:
                output = ModelRunnerOutput.with_kv_conn_output_only(self._link.arrived(time.perf_counter()))
            return _done(output) if non_block else output
        self._busy_until = start + seconds
        if self._link is not None:
            output.kv_connector_output = self._link.arrived(self._busy_until)
        drafted = {name: len(tokens) for name, tokens in scheduler_output.scheduled_spec_decode_tokens.items()}
        self._step = _Step(due=self._busy_until, output=output, drafted=drafted)
        return _done(None) if non_block else None

    def sample_tokens(self, grammar_output: GrammarOutput | None, non_block: bool = False) -> Any:
        """The output of the newest step, at its due time."""
        if self._step is None:
            raise RuntimeError("sample_tokens() without execute_model()")
        self._said = self._step.output
        self._device.sample(self._step.output, grammar_output, self._closing_tokens, self._step.drafted)
        future, self._step = _DueOutput(self._step), None
        return future if non_block else future.result()

    def take_draft_token_ids(self) -> DraftTokenIds | None:
        """The draft tokens of the last ended step; None where they stay on the device."""
        if not self._drafts_ahead or self._said is None:
            return None
        return self._device.draft(self._said, self._drafts_ahead)

    def _closing_tokens(self) -> Sequence[int]:
        if self._closing is None:
            tokenizer = cached_tokenizer_from_config(self.vllm_config.model_config)
            self._closing = [tokenizer.convert_tokens_to_ids(token) for token in CLOSING]
        return self._closing

    def check_health(self) -> None:
        pass

    def shutdown(self) -> None:
        pass


def _done(value: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(value)
    return future
