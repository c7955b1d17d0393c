"""Asks vLLM's engine client what waits in the engine, and what the engine can hold. No vLLM import.

vLLM's own metrics do not tell it in this form: `vllm:num_requests_waiting` counts preempted requests too and no tokens,
and `vllm:cache_config_info` has all settings of the cache in a line of a kilobyte. The client knows both, for vLLM's
own scheduling as for the policy. Its attributes are not a public interface: another version may tell nothing.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Waiting(NamedTuple):
    """Requests that have no token yet. A prompt with several choices is one of them."""

    requests: int
    prompt_tokens: int
    """What a cache holds of the prompts is included: it is not known before their prefill."""


class EngineLimits(NamedTuple):
    """What one engine can hold."""

    kv_cache_tokens: int
    max_num_seqs: int
    max_num_batched_tokens: int


def open_requests(client: Any) -> int | None:
    """Requests that the engine has not answered to the end; None where this vLLM does not tell."""
    try:
        return len(client.output_processor.request_states)
    except (AttributeError, TypeError):
        return None


def waiting(client: Any) -> Waiting | None:
    """What waits now; None where this vLLM does not tell. For the event loop's thread."""
    try:
        states = client.output_processor.request_states.values()
        prompts = {
            id(state if state.parent_req is None else state.parent_req): int(state.prompt_len)
            for state in states
            if state.is_prefilling
        }
    except (AttributeError, TypeError, ValueError):
        return None
    return Waiting(requests=len(prompts), prompt_tokens=sum(prompts.values()))


def limits(client: Any) -> EngineLimits | None:
    """What the engine can hold; None where this vLLM does not tell.

    And None with data parallelism: several engines with a cache each do not hold what one engine with all of it holds.
    """
    try:
        config = client.vllm_config
        if config.parallel_config.data_parallel_size != 1:
            return None
        found = EngineLimits(
            kv_cache_tokens=int(config.cache_config.kv_cache_size_tokens),
            max_num_seqs=int(config.scheduler_config.max_num_seqs),
            max_num_batched_tokens=int(config.scheduler_config.max_num_batched_tokens),
        )
    except (AttributeError, TypeError, ValueError):
        return None
    return found if min(found) > 0 else None
