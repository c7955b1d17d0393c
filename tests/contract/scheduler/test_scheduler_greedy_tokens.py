"""Real numerics: a request that is preempted at random says what it says when left alone.

To the token in float32. In bfloat16 a product may depend on the batch's shape, so there the storm may do to the
log-probabilities what shape alone does (measured here, with stock vLLM), and no more. One of the storms is over draft
tokens of which most hold.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from benchmarks.scheduling.fuzz import StormPolicy
from vllm import LLM, SamplingParams, TokensPrompt

from andante_vllm.scheduler import QoEScheduler
from andante_vllm.scheduler_settings import SchedulerSettings
from andante_vllm.tiny_model import make_model
from contract.scheduler import knowing_drafter
from contract.scheduler.rounding import Answer, Rivals, disturbed, first_difference, margin, rounding

REQUESTS = 16
RIVALS = 20
# No text: to write each rival's would take a third of the time.
SPEAK = SamplingParams(temperature=0, max_tokens=60, ignore_eos=True, logprobs=RIVALS, detokenize=False)
READ = SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=RIVALS, detokenize=False)
PREEMPTIONS: list[int] = []
SEVERAL: list[int] = []
"""Of each step that brought a request more than one token, how many."""
SPECULATIVE = {
    "method": "custom_class",
    "model": f"{knowing_drafter.__name__}.{knowing_drafter.KnowingDrafter.__name__}",
    "num_speculative_tokens": knowing_drafter.TOKENS,
}
WORKERS: list[Any] = []
"""The model runner of the engine that is disturbed on purpose."""


class StormScheduler(QoEScheduler):
    """Ours, under random preemption."""

    def load_settings(self) -> SchedulerSettings:
        return SchedulerSettings(policy=StormPolicy(random.Random(5)), policy_name="storm")  # noqa: S311

    def _preempt_request(self, *args: Any, **kwargs: Any) -> None:
        PREEMPTIONS.append(1)
        super()._preempt_request(*args, **kwargs)

    def update_from_output(self, batch: Any, output: Any) -> dict[int, Any]:
        SEVERAL.extend(len(tokens) for tokens in output.sampled_token_ids if len(tokens) > 1)
        return super().update_from_output(batch, output)


class WrongTokenScheduler(StormScheduler):
    """The same, but the first request that is taken off in the middle of its answer resumes from a prompt in which one
    token is another."""

    _done = False

    def _preempt_request(self, request: Any, *args: Any, **kwargs: Any) -> None:
        if not self._done and 0 < request.num_output_tokens < 30:
            self._done = True
            prompt = WORKERS[-1].requests[request.request_id].prompt_token_ids
            prompt[len(prompt) // 2] = 10 + (prompt[len(prompt) // 2] + 200) % 390
        super()._preempt_request(request, *args, **kwargs)


def prompts() -> list[list[int]]:
    source = random.Random(9)  # noqa: S311
    return [[source.randrange(10, 400) for _ in range(source.randrange(5, 200))] for _ in range(REQUESTS)]


def llm(model: str, *, step_tokens: int = 512, **settings: Any) -> LLM:
    return LLM(
        model=model, enforce_eager=True, block_size=32, max_model_len=512, max_num_seqs=8, disable_log_stats=True,
        max_num_batched_tokens=step_tokens, **settings,
    )  # fmt: skip


def generate(engine: LLM, texts: Sequence[list[int]], sampling: SamplingParams) -> list[Any]:
    return engine.generate([TokensPrompt(prompt_token_ids=text) for text in texts], sampling, use_tqdm=False)


def one_by_one(engine: LLM, texts: Sequence[list[int]], sampling: SamplingParams) -> list[Any]:
    return [generate(engine, [text], sampling)[0] for text in texts]


class Stock:
    """vLLM without us, and without a prefix cache: the judge of what others said.

    Made when their engines are gone: the state of one that ends is that of all in the process.
    """

    def __init__(self, model: str, dtype: str) -> None:
        self._dtype = dtype
        self._engine = llm(model, dtype=dtype, enable_prefix_caching=False)
        self.alone = self.answers(one_by_one(self._engine, prompts(), SPEAK))
        self.together = self.answers(generate(self._engine, prompts(), SPEAK))

    def limit(self, in_small_steps: Sequence[Any]) -> float:
        """What shape alone may do: of each request for itself, of all together, and of prompts in pieces."""
        return rounding([*self.alone, *self.together, *self.answers(in_small_steps)], dtype=self._dtype)

    def answers(self, outputs: Sequence[Any]) -> list[Answer]:
        """What was said, read again by this engine, one by one."""
        said = [output.outputs[0] for output in outputs]
        texts = [prompt + list(completion.token_ids) for prompt, completion in zip(prompts(), said, strict=True)]
        read = one_by_one(self._engine, texts, READ)
        return [
            Answer(
                tokens=tuple(completion.token_ids),
                said_under=tuple(map(_rivals, completion.logprobs)),
                read_under=tuple(map(_rivals, reading.prompt_logprobs[len(prompt) :])),
            )
            for prompt, completion, reading in zip(prompts(), said, read, strict=True)
        ]


def _rivals(place: Mapping[int, Any]) -> Rivals:
    return {token: known.logprob for token, known in place.items()}


def in_small_steps(model: str, dtype: str) -> list[Any]:
    """What stock vLLM says where a step takes in no more of a prompt than in a storm."""
    return generate(llm(model, step_tokens=48, dtype=dtype, enable_prefix_caching=False), prompts(), SPEAK)


def in_a_storm(
    model: str, scheduler: type[StormScheduler], *, dtype: str, caching: bool, least: int = 50, **settings: Any
) -> list[Any]:
    """What the prompts' requests say when they run together on few blocks and `scheduler` takes them off.

    Fewer preemptions than `least` would be no storm.
    """
    PREEMPTIONS.clear()
    SEVERAL.clear()
    engine = llm(
        model, dtype=dtype, enable_prefix_caching=caching, scheduler_cls=scheduler, num_gpu_blocks_override=40,
        **settings,
    )  # fmt: skip
    core: Any = engine.llm_engine.engine_core
    WORKERS.append(core.engine_core.model_executor.driver_worker.worker.model_runner)
    outputs = generate(engine, prompts(), SPEAK)
    WORKERS.clear()
    del engine, core
    gc.collect()
    assert len(PREEMPTIONS) > least
    return outputs


@dataclass(frozen=True, slots=True)
class Said:
    """All that was said in one data type, and how far rounding may go there."""

    dtype: str
    limit: float
    alone: list[Answer]
    storms: dict[str, list[Answer]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1",
                            "OMP_NUM_THREADS": "1"}.items():  # fmt: skip
            environment.setenv(name, value)
        yield str(make_model(tmp_path_factory.mktemp("model") / "tiny", random_weights=True, max_model_len=512))


@pytest.fixture(scope="module", params=["float32", "bfloat16"], ids=["fp32", "bf16"])
def said(model: str, request: pytest.FixtureRequest) -> Iterator[Said]:
    dtype = str(request.param)
    outputs = {
        "cached": in_a_storm(model, StormScheduler, dtype=dtype, caching=True),
        "uncached": in_a_storm(model, StormScheduler, dtype=dtype, caching=False),
        "wrong": in_a_storm(model, WrongTokenScheduler, dtype=dtype, caching=False),
    }
    knowing_drafter.TEXTS[:] = [
        prompt + list(output.outputs[0].token_ids)
        for prompt, output in zip(prompts(), outputs["uncached"], strict=True)
    ]
    outputs["speculative"] = in_a_storm(
        model, StormScheduler, dtype=dtype, caching=True, least=10, speculative_config=SPECULATIVE
    )
    assert len(SEVERAL) > 100
    small_steps = in_small_steps(model, dtype)
    gc.collect()
    stock = Stock(model, dtype)
    storms = {name: stock.answers(of_storm) for name, of_storm in outputs.items()}
    yield Said(dtype=dtype, limit=stock.limit(small_steps), alone=stock.alone, storms=storms)
    del stock
    gc.collect()


pytestmark = [
    pytest.mark.timeout(1500),  # the first test of a data type has the engines to start
    pytest.mark.filterwarnings("default"),  # torch and vLLM warn about this machine's CPU
]


@pytest.mark.parametrize("storm", ["cached", "uncached", "speculative"])
def test_a_storm_does_no_more_than_shape_does(said: Said, storm: str) -> None:
    assert not disturbed(said.storms[storm], limit=said.limit)


@pytest.mark.parametrize("storm", ["cached", "uncached", "speculative"])
def test_where_rounding_is_fine_a_storm_changes_no_token(said: Said, storm: str) -> None:
    """In bfloat16 the two likeliest tokens can be closer than what shape does, as stock vLLM shows by itself."""
    closest = said.limit if said.dtype == "bfloat16" else 0.0
    for stormy, alone in zip(said.storms[storm], said.alone, strict=True):
        place = first_difference(stormy, alone)
        assert place is None or margin(alone, place) < 2 * closest, f"place {place}: {stormy.tokens} {alone.tokens}"


def test_one_wrong_token_in_a_resumed_prompt_is_seen(said: Said) -> None:
    assert len(disturbed(said.storms["wrong"], limit=said.limit)) == 1
