"""Real numerics in float32: requests that share a prefix, or whose answers have a grammar, say in a storm what stock
vLLM says to each of them alone, to the token.

KV in host memory is not here: vLLM's worker that copies it needs a GPU. What comes back is checked token by token in
`test_scheduler_exactness`, with a stand-in for the worker.
"""

from __future__ import annotations

import gc
import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import pytest
from vllm import SamplingParams
from vllm.sampling_params import StructuredOutputsParams

from andante_vllm.tiny_model import make_model
from contract.scheduler.test_scheduler_greedy_tokens import PREEMPTIONS, StormScheduler, generate, llm, one_by_one

PATTERN = "((the|a) (river|stone|road) (walks|waits|turns) ){4}(now|never)[.]"
PLACES, NUMBERS = ["river", "road", "house"], [7, 11]
SCHEMA = {
    "type": "object",
    "properties": {
        "places": {"type": "array", "items": {"enum": PLACES}, "minItems": 5, "maxItems": 5},
        "number": {"enum": NUMBERS},
    },
    "required": ["places", "number"],
    "additionalProperties": False,
}


def speak(structure: StructuredOutputsParams | None = None) -> SamplingParams:
    return SamplingParams(
        temperature=0, max_tokens=100 if structure else 60, ignore_eos=structure is None, structured_outputs=structure
    )


@dataclass(frozen=True, slots=True)
class Kind:
    """Requests of one kind."""

    prompts: list[list[int]]
    sampling: SamplingParams


def kinds() -> dict[str, Kind]:
    source = random.Random(4)  # noqa: S311
    # Whole words, not bytes of one: what vLLM's text of an answer begins with would be theirs.

    def own(longest: int) -> list[int]:
        return [source.randrange(270, 600) for _ in range(source.randrange(5, longest))]

    system = [source.randrange(270, 600) for _ in range(170)]
    return {
        "shared": Kind([system[: source.choice([70, 170])] + own(40) for _ in range(16)], speak()),
        "regex": Kind([own(150) for _ in range(12)], speak(StructuredOutputsParams(regex=PATTERN))),
        "schema": Kind([own(150) for _ in range(12)], speak(StructuredOutputsParams(json=SCHEMA))),
    }


@dataclass(frozen=True, slots=True)
class Said:
    """Tokens and text of each answer, in a storm and alone, and what the storm took off and found in the cache."""

    stormy: list[tuple[tuple[int, ...], str]]
    alone: list[tuple[tuple[int, ...], str]]
    preemptions: int
    cached_tokens: int


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Said]]:
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1",
                            "OMP_NUM_THREADS": "1"}.items():  # fmt: skip
            environment.setenv(name, value)
        model = str(make_model(tmp_path_factory.mktemp("model") / "tiny", random_weights=True, max_model_len=512))
        stormy, counted = {}, {}
        engine = llm(
            model, dtype="float32", enable_prefix_caching=True, scheduler_cls=StormScheduler, num_gpu_blocks_override=40
        )
        for name, kind in kinds().items():
            PREEMPTIONS.clear()
            stormy[name] = generate(engine, kind.prompts, kind.sampling)
            counted[name] = len(PREEMPTIONS)
        del engine
        gc.collect()
        stock = llm(model, dtype="float32", enable_prefix_caching=False)
        alone = {name: one_by_one(stock, kind.prompts, kind.sampling) for name, kind in kinds().items()}
        del stock
        gc.collect()
        yield {
            name: Said(
                stormy=[(tuple(o.outputs[0].token_ids), o.outputs[0].text) for o in stormy[name]],
                alone=[(tuple(o.outputs[0].token_ids), o.outputs[0].text) for o in alone[name]],
                preemptions=counted[name],
                cached_tokens=sum(o.num_cached_tokens for o in stormy[name]),
            )
            for name in stormy
        }


pytestmark = [
    pytest.mark.timeout(900),  # the first test has the engines to start
    pytest.mark.filterwarnings("default"),  # torch and vLLM warn about this machine's CPU
]


@pytest.mark.parametrize("kind", list(kinds()))
def test_a_storm_changes_no_token(said: dict[str, Said], kind: str) -> None:
    assert said[kind].preemptions > 20
    assert said[kind].stormy == said[kind].alone


def test_a_common_prefix_was_read_from_the_cache(said: dict[str, Said]) -> None:
    assert said["shared"].cached_tokens > 16 * 32


def test_answers_have_the_structure_that_was_asked_for(said: dict[str, Said]) -> None:
    texts = [text for _, text in said["regex"].stormy]
    assert all(re.fullmatch(PATTERN, text) for text in texts), texts
    whole = [
        json.dumps({"places": places, "number": number}, separators=(",", ":"))
        for places in product(PLACES, repeat=5)
        for number in NUMBERS
    ]
    # A model that knows nothing may write blanks, which JSON allows, until its tokens are used up.
    begun = ["".join(text.split()) for _, text in said["schema"].stormy]
    assert all(any(document.startswith(text) for document in whole) for text in begun), begun
    assert max(map(len, begun)) > 20
