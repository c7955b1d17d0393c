"""Which KV in host memory to give up first: that of requests that have ended, so that whoever was taken off comes back.

vLLM's OffloadingConnector copies every block to the host and gives up what was used longest ago, whoever needs it.
A request that the scheduler takes off uses nothing while it waits, so its KV would be the first to go, although it is
the only one that is sure to be asked for again. This policy (vLLM's plug-in interface for them, by
`cache_policy_module_path`) gives up the chunks of ended requests first; then whole requests, the longest idle first
and from their ends; those that run use theirs all the time and so come last.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from vllm.distributed.kv_transfer.kv_connector.v1.offloading_connector import OffloadingConnector
from vllm.v1.kv_offload.base import OffloadKey, ReqContext
from vllm.v1.kv_offload.cpu.policies.base import CachePolicy, ChunkStatus, order_request_keys

_LEAST, _ENOUGH = 1.1, 1.5
"""Times the GPUs' KV; docs/reference/scheduler-settings.md has the measurements."""


class EndedFirst(CachePolicy):
    """See the module. A chunk belongs to the request that stored it."""

    def __init__(self, cache_capacity: int) -> None:
        """`cache_capacity`: chunks that the host's memory holds."""
        super().__init__(cache_capacity)
        self._chunks: dict[OffloadKey, ChunkStatus] = {}
        self._owner: dict[OffloadKey, tuple[str, int]] = {}
        """Who stored it or will, and the token of his at which it ends; ended requests own nothing."""
        self._live: OrderedDict[str, dict[OffloadKey, int]] = OrderedDict()
        """Chunks of requests that have not ended, and the token at which each ends; the longest idle first."""
        self._ended: OrderedDict[OffloadKey, None] = OrderedDict()
        """The others' chunks; the longest unused first."""
        self._shortened: set[str] = set()

    def get(self, key: OffloadKey) -> ChunkStatus | None:
        """See `CachePolicy.get`."""
        return self._chunks.get(key)

    def on_store_miss(self, keys: Iterable[OffloadKey], req_context: ReqContext) -> None:
        """`insert` is not told whose chunk it is, but comes after this; nobody gives way to himself."""
        if req_context.req_id in self._live:
            self._live.move_to_end(req_context.req_id)
        for key in keys:
            self._owner[key] = (req_context.req_id, req_context.get_offload_key_position(key) or 0)

    def insert(self, key: OffloadKey, chunk: ChunkStatus) -> None:
        """See `CachePolicy.insert`."""
        self._chunks[key] = chunk
        owner = self._owner.get(key)
        if owner is None:
            self._ended[key] = None
        else:
            request_id, end = owner
            self._live.setdefault(request_id, {})[key] = end
            self._live.move_to_end(request_id)

    def remove(self, key: OffloadKey) -> None:
        """See `CachePolicy.remove`."""
        del self._chunks[key]
        self._ended.pop(key, None)
        owner = self._owner.get(key)  # kept: should the same request store it again, `on_store_miss` is not called
        if owner is not None:
            chunks = self._live[owner[0]]
            del chunks[key]
            self._shortened.add(owner[0])
            if not chunks:
                del self._live[owner[0]]

    def touch(self, keys: Iterable[OffloadKey], req_context: ReqContext) -> None:
        """See `CachePolicy.touch`."""
        for key in keys:
            self._use(key)

    def mark_non_evictable(self, key: OffloadKey) -> None:
        """A copy to the GPU begins: whoever it is for goes on."""
        self._use(key)

    def on_request_finished(
        self,
        key_groups: Sequence[Sequence[OffloadKey]],
        insertion_only_keys: set[OffloadKey],
        reused_keys: set[OffloadKey],
        req_context: ReqContext,
    ) -> None:
        """Its chunks are now a prefix that somebody may share: kept by recency, its head longest."""
        live = self._live.pop(req_context.req_id, {})
        self._shortened.discard(req_context.req_id)
        for key in reversed(order_request_keys(key_groups, req_context)):
            if self._owner.get(key, ("", 0))[0] == req_context.req_id:
                del self._owner[key]
            if key in live:
                self._ended[key] = None
            elif key in self._ended:
                self._ended.move_to_end(key)

    def evict(self, n: int, protected: set[OffloadKey]) -> list[tuple[OffloadKey, ChunkStatus]] | None:
        """See `CachePolicy.evict`."""
        chosen: list[OffloadKey] = []
        victims = self._victims()
        while len(chosen) < n:
            key = next(victims, None)
            if key is None:
                return None
            if key not in protected and self._chunks[key].ref_cnt == 0:
                chosen.append(key)
        evicted = [(key, self._chunks[key]) for key in chosen]
        for key in chosen:
            self.remove(key)
        return evicted

    def kept(self, request_id: str, *, chunk: int) -> int:
        """Tokens from its start that would come back to a request, of what it stored itself; `chunk`: tokens of one."""
        ends = sorted(self._live.get(request_id, {}).values())
        return chunk * next((i for i, end in enumerate(ends) if end != (i + 1) * chunk), len(ends))

    def take_shortened(self) -> set[str]:
        """Requests, not ended, that have lost chunks since this was asked last."""
        shortened, self._shortened = self._shortened, set()
        return shortened

    def clear(self) -> None:
        """See `CachePolicy.clear`."""
        self._shortened.update(self._live)
        for known in (self._chunks, self._owner, self._live, self._ended):
            known.clear()

    def _victims(self) -> Iterator[OffloadKey]:
        yield from self._ended
        for chunks in self._live.values():
            yield from reversed(chunks)

    def _use(self, key: OffloadKey) -> None:
        owner = self._owner.get(key)
        if owner is not None and owner[0] in self._live:
            self._live.move_to_end(owner[0])
        elif key in self._ended:
            self._ended.move_to_end(key)


def too_small(host_chunks: int, gpu_blocks: int) -> str:
    """What to do where the host's memory holds less KV than the GPU, one block a chunk; empty where it holds enough."""
    if host_chunks >= _LEAST * gpu_blocks:
        return ""
    return (
        f"scheduler.kvOffloadGiB: the host's memory holds {host_chunks} blocks of KV, the GPUs {gpu_blocks}. What runs "
        "lies in both, so hardly any is left for whoever waits, and policy `qoe` decides as without. Make it "
        f"{_ENOUGH * gpu_blocks / max(host_chunks, 1):.1f} times as large, or 0"
    )


def of(connector: Any) -> EndedFirst | None:
    """The policy that a scheduler's KV connector works with; None where it is another one, or there is no connector."""
    if not isinstance(connector, OffloadingConnector) or connector.connector_scheduler is None:
        return None
    policy = getattr(connector.connector_scheduler.manager, "_policy", None)
    return policy if isinstance(policy, EndedFirst) else None
