"""For an ablation: the host's memory gives up KV in vLLM's own order, and the scheduler still knows what is left.

With vLLM's class alone it would not know, and the two orders would be compared by that.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from vllm.v1.kv_offload.base import OffloadKey, ReqContext
from vllm.v1.kv_offload.cpu.policies.base import ChunkStatus
from vllm.v1.kv_offload.cpu.policies.lru import LRUCachePolicy

from andante_vllm.host_kv_cache import EndedFirst


class VLLMsOrder(EndedFirst):
    """Every call goes to `EndedFirst`, which keeps the books, and to vLLM's default `lru`, which chooses."""

    def __init__(self, cache_capacity: int) -> None:
        super().__init__(cache_capacity)
        self._lru = LRUCachePolicy(cache_capacity)

    def insert(self, key: OffloadKey, chunk: ChunkStatus) -> None:
        super().insert(key, chunk)
        self._lru.insert(key, chunk)

    def remove(self, key: OffloadKey) -> None:
        super().remove(key)
        self._lru.remove(key)

    def touch(self, keys: Iterable[OffloadKey], req_context: ReqContext) -> None:
        keys = list(keys)
        super().touch(keys, req_context)
        self._lru.touch(keys, req_context)

    def mark_evictable(self, key: OffloadKey) -> None:
        super().mark_evictable(key)
        self._lru.mark_evictable(key)

    def mark_non_evictable(self, key: OffloadKey) -> None:
        super().mark_non_evictable(key)
        self._lru.mark_non_evictable(key)

    def on_request_finished(self, *args: Any, **kwargs: Any) -> None:
        super().on_request_finished(*args, **kwargs)
        self._lru.on_request_finished(*args, **kwargs)

    def evict(self, n: int, protected: set[OffloadKey]) -> list[tuple[OffloadKey, ChunkStatus]] | None:
        evicted: list[tuple[OffloadKey, ChunkStatus]] | None = self._lru.evict(n, protected)
        for key, _ in evicted or ():
            super().remove(key)
        return evicted

    def clear(self) -> None:
        super().clear()
        self._lru.clear()
