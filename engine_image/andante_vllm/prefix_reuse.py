"""Finds how much of a request's KV the GPU's prefix cache holds, and how much other requests hold, before admission.

vLLM finds this in its own admission, with one lookup for each block. Here bisection is enough: if the cache, or a
request, holds a block, it holds all blocks before it too (a chain's tail is dropped first).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from vllm.v1.core.kv_cache_coordinator import UnitaryKVCacheCoordinator
from vllm.v1.core.kv_cache_manager import KVCacheManager
from vllm.v1.core.kv_cache_utils import KVCacheBlock
from vllm.v1.core.single_type_kv_cache_manager import FullAttentionManager
from vllm.v1.request import Request


class Reuse(NamedTuple):
    """Numbers of tokens from a request's start, in whole blocks."""

    cached: int
    """Tokens whose KV the prefix cache holds: they need not be computed."""
    shared: int
    """Cached tokens in blocks that other requests hold: they need no free block, and free none."""


NOTHING = Reuse(0, 0)


class PrefixCacheLookup:
    """Reads vLLM's KV cache manager without a change, neither of its statistics nor of the order of eviction."""

    def __init__(self, manager: KVCacheManager) -> None:
        self._manager: Any = manager
        self.works = bool(self._manager.enable_caching)
        """Whether there is a prefix cache."""
        coordinator, pool = self._manager.coordinator, self._manager.block_pool
        self._block_size = 0
        """Tokens of a block if all attention is full and each block has one hash; 0 where bisection may be wrong."""
        if isinstance(coordinator, UnitaryKVCacheCoordinator) and coordinator.block_size == pool.hash_block_size:
            (only,) = coordinator.single_type_managers
            self._block_size = coordinator.block_size if isinstance(only, FullAttentionManager) else 0
        self._dropped = 1 if coordinator.eagle_group_ids else 0
        """Blocks at the end of a hit that are recomputed, for a drafter that reads their hidden states."""

    def of_waiting(self, request: Request) -> Reuse:
        """The reuse of a request that holds no KV blocks."""
        if not self._manager.prefix_cache_lookup_enabled(request):
            return NOTHING
        if not self._block_size:
            return self._of_every_block(request)
        pool, hashes = self._manager.block_pool, request.block_hashes
        longest = min((request.num_tokens - 1) // self._block_size, len(hashes))  # the last token is always computed

        def held(place: int) -> bool:
            return pool.get_cached_block(hashes[place], (0,)) is not None

        def in_use(place: int) -> bool:
            blocks = pool.get_cached_block(hashes[place], (0,))
            return blocks is not None and blocks[0].ref_cnt > 0

        cached = max(first_without(held, longest) - self._dropped, 0)
        return Reuse(cached * self._block_size, first_without(in_use, cached) * self._block_size)

    def of_running(self, request: Request) -> int:
        """Tokens of the request's KV that others hold too: a preemption would not free them."""
        return min(
            (
                _held_by_others(manager.req_to_blocks.get(request.request_id, ())) * int(manager.block_size)
                for manager in self._manager.coordinator.single_type_managers
            ),
            default=0,
        )

    def _of_every_block(self, request: Request) -> Reuse:
        """The reuse in models with several kinds of attention, where a hit must be a hit in every kind."""
        found, tokens, _ = self._manager.coordinator.find_longest_cache_hit(
            request.block_hashes, request.num_tokens - 1
        )
        shared = tokens
        for manager, blocks in zip(self._manager.coordinator.single_type_managers, found, strict=True):
            in_use = next((place for place, block in enumerate(blocks) if not _held_by_any(block, 1)), len(blocks))
            shared = min(shared, in_use * manager.block_size)
        return Reuse(tokens, shared)


def _held_by_others(blocks: Sequence[KVCacheBlock]) -> int:
    return first_without(lambda place: _held_by_any(blocks[place], 2), len(blocks))


def _held_by_any(block: KVCacheBlock, so_many: int) -> bool:
    """Whether at least `so_many` requests hold the block. Blocks before a sliding window count as held: they need no
    room."""
    return bool(block.is_null or block.ref_cnt >= so_many)


def first_without(has: Callable[[int], bool], count: int) -> int:
    """The first place of 0 … count - 1 for which `has` is false, or `count`; all places with true come first.

    Checks the first and the last place first: in nearly all cases no place, or every place, has true.
    """
    if not count or not has(0):
        return 0
    if has(count - 1):
        return count
    low, high = 1, count - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if has(middle) else (low, middle)
    return low
