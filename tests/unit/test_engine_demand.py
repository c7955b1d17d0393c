"""What vLLM's client knows of the engine, and what it does not say."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from andante.domain.metric_names import ENGINE_LIMITS
from andante_vllm.engine_demand import EngineLimits, Waiting, limits, waiting


def _state(prompt_len: int, *, prefilling: bool = True, parent: Any = None) -> SimpleNamespace:
    return SimpleNamespace(prompt_len=prompt_len, is_prefilling=prefilling, parent_req=parent)


def _client(*states: SimpleNamespace, kv: int | None = 400_000, ranks: int = 1) -> SimpleNamespace:
    return SimpleNamespace(
        output_processor=SimpleNamespace(request_states={str(n): state for n, state in enumerate(states)}),
        vllm_config=SimpleNamespace(
            parallel_config=SimpleNamespace(data_parallel_size=ranks),
            cache_config=SimpleNamespace(kv_cache_size_tokens=kv),
            scheduler_config=SimpleNamespace(max_num_seqs=256, max_num_batched_tokens=8192),
        ),
    )


def test_requests_without_a_token_wait() -> None:
    client = _client(_state(100), _state(250), _state(7, prefilling=False))
    assert waiting(client) == Waiting(requests=2, prompt_tokens=350)


def test_a_prompt_with_several_choices_waits_once() -> None:
    parent = object()
    assert waiting(_client(_state(100, parent=parent), _state(100, parent=parent), _state(30))) == Waiting(2, 130)


def test_nothing_that_waits_is_zero() -> None:
    assert waiting(_client()) == Waiting(0, 0)


def test_the_limits_are_vllm_s() -> None:
    assert limits(_client()) == EngineLimits(400_000, 256, 8192)


@pytest.mark.parametrize("client", [_client(kv=None), _client(kv=0), _client(ranks=2), SimpleNamespace(), None])
def test_limits_that_vllm_does_not_tell_are_unknown(client: Any) -> None:
    assert limits(client) is None


@pytest.mark.parametrize("client", [SimpleNamespace(), _client(SimpleNamespace(prompt_len=1)), None])
def test_a_queue_that_vllm_does_not_tell_is_unknown(client: Any) -> None:
    assert waiting(client) is None


def test_the_labels_are_the_limits() -> None:
    assert EngineLimits._fields == ENGINE_LIMITS
