"""Real numerics: a request that is preempted and paused at random says what it says when left alone."""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator
from typing import Any

import pytest
from benchmarks.scheduling.fuzz import StormPolicy
from vllm import LLM, SamplingParams, TokensPrompt

from andante_vllm.scheduler import QoEScheduler
from andante_vllm.scheduler_settings import SchedulerSettings
from andante_vllm.tiny_model import make_model

REQUESTS = 16
GREEDY = SamplingParams(temperature=0, max_tokens=60, ignore_eos=True)
PREEMPTIONS: list[int] = []


class StormScheduler(QoEScheduler):
    """Ours, under random preemption and pause."""

    def load_settings(self) -> SchedulerSettings:
        return SchedulerSettings(policy=StormPolicy(random.Random(5)), policy_name="storm")  # noqa: S311

    def _preempt_request(self, *args: Any, **kwargs: Any) -> None:
        PREEMPTIONS.append(1)
        super()._preempt_request(*args, **kwargs)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_model(tmp_path_factory.mktemp("model") / "tiny", random_weights=True, max_model_len=512))


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1",
                        "OMP_NUM_THREADS": "1"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    yield
    gc.collect()


def prompts() -> list[Any]:
    source = random.Random(9)  # noqa: S311
    return [
        TokensPrompt(prompt_token_ids=[source.randrange(10, 400) for _ in range(source.randrange(5, 200))])
        for _ in range(REQUESTS)
    ]


def llm(model: str, **settings: Any) -> LLM:
    return LLM(
        model=model, enforce_eager=True, block_size=32, max_model_len=512, max_num_seqs=8, disable_log_stats=True,
        max_num_batched_tokens=512, **settings,
    )  # fmt: skip


@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("default")  # torch and vLLM warn about this machine's CPU
@pytest.mark.parametrize(
    ("dtype", "caching"), [("float32", True), ("float32", False), ("bfloat16", True)], ids=["fp32", "uncached", "bf16"]
)
def test_a_storm_changes_no_token(model: str, dtype: str, caching: bool) -> None:
    alone = llm(model, dtype=dtype, enable_prefix_caching=False)
    wanted = [list(alone.generate(p, GREEDY, use_tqdm=False)[0].outputs[0].token_ids) for p in prompts()]
    del alone
    gc.collect()
    PREEMPTIONS.clear()
    stormy = llm(
        model, dtype=dtype, enable_prefix_caching=caching, scheduler_cls=StormScheduler, num_gpu_blocks_override=40
    )
    answers = stormy.generate(prompts(), GREEDY, use_tqdm=False)
    assert [list(answer.outputs[0].token_ids) for answer in answers] == wanted
    assert len(PREEMPTIONS) > 50
