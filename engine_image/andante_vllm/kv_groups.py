"""Asks vLLM's KV cache managers once, at the start, how much a request takes from each of a model's KV cache groups."""

from __future__ import annotations

from typing import Any

import numpy as np
from vllm.v1.kv_cache_interface import CircularBufferSpec, MambaSpec

# isort: split
from andante.domain.compiled import Table
from andante.domain.scheduling.kv_groups import LEAST, MOST_HELD, MOST_STARTING, OF_A_GROUP, PER_TOKEN


def kv_groups(scheduler: Any) -> Table:
    """The policy's table of KV cache groups, in tokens of the scheduler's `block_size`. `scheduler`: vLLM's, complete.

    All groups take their blocks from one pool.
    """
    groups = scheduler.kv_cache_config.kv_cache_groups
    managers = scheduler.kv_cache_manager.coordinator.single_type_managers
    table = np.empty((len(groups), OF_A_GROUP))
    for place, (group, manager) in enumerate(zip(groups, managers, strict=True)):
        _fill(table[place], group.kv_cache_spec, manager, scheduler)
    return table


def _fill(row: Any, spec: Any, manager: Any, scheduler: Any) -> None:
    of_a_block = scheduler.block_size
    if _has_one_state(spec):
        blocks = -(-spec.max_memory_usage_bytes(scheduler.vllm_config) // spec.page_size_bytes)
        row[:] = 0.0
        row[[LEAST, MOST_STARTING, MOST_HELD]] = blocks * of_a_block
        return
    row[PER_TOKEN] = of_a_block / manager.block_size
    row[LEAST] = 0.0
    most = manager.max_admission_blocks_per_request
    row[MOST_STARTING] = np.inf if most is None else most * of_a_block
    window = _window(manager, scheduler.max_model_len)
    # A window seldom starts at a block's start, so it needs one block more.
    row[MOST_HELD] = np.inf if window is None else (-(-window // manager.block_size) + 1) * of_a_block


def _has_one_state(spec: Any) -> bool:
    """Whether a request holds the same number of blocks at any length."""
    return isinstance(spec, CircularBufferSpec) or (isinstance(spec, MambaSpec) and spec.mamba_cache_mode != "all")


def _window(manager: Any, longest: int) -> int | None:
    """Most tokens that a request holds while it decodes, from the tokens that vLLM's attention skips; None: all."""
    lengths = range(manager.block_size - 1, longest + 1, manager.block_size)
    skipped = [manager.get_num_skipped_tokens(length) for length in lengths]
    return max(map(int.__sub__, lengths, skipped)) if any(skipped) else None
