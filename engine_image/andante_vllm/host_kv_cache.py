"""Decides which KV to drop first from host memory: KV that no request in the engine needs.

vLLM's OffloadingConnector copies every block to the host and drops the KV that was used longest ago. A preempted
request uses no KV while it waits, so its KV would be dropped first, although only this KV is certain to be needed
again. This policy (a plug-in of vLLM, by `cache_policy_module_path`) first drops chunks that a lookup finds for no
request in the engine. Then it drops whole requests from their ends, the longest idle first; running requests use their
KV all the time and so come last. A prefix that several requests share is dropped with the last of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from vllm.v1.kv_offload.base import OffloadKey, ReqContext, get_offload_group_idx
from vllm.v1.kv_offload.cpu.policies.base import CachePolicy, ChunkStatus, order_request_keys

from andante_vllm.host_kv_chunks import KVChunks

_LEAST, _ENOUGH = 1.1, 1.5
"""Times the GPUs' KV; docs/reference/scheduler-settings.md has the measurements."""


class EndedFirst(CachePolicy):
    """See the module. The policy knows a request from `follow`, or from the request's first stored chunk."""

    def __init__(self, cache_capacity: int) -> None:
        """`cache_capacity`: number of chunks that the host's memory holds."""
        super().__init__(cache_capacity)
        self._chunks = KVChunks()
        self._told: dict[str, _StoredKeys] = {}
        """Keys of requests that were not followed: the connector reports them when the request stores a chunk."""
        self._idle = 0
        """Chunks without a running copy."""

    # --- called by vLLM -----------------------------------------------------------------------------------------

    def get(self, key: OffloadKey) -> ChunkStatus | None:
        """See `CachePolicy.get`."""
        chunk = self._chunks.held.get(key)
        return None if chunk is None else chunk.status

    def on_store_miss(self, keys: Iterable[OffloadKey], req_context: ReqContext) -> None:
        """Note that the request is served; its new chunks follow."""
        run = self._chunks.runs.get(req_context.req_id)
        if run is None:
            told = self._told[req_context.req_id] = _StoredKeys(self._chunks.first_group)
            told.learn(req_context)
            self._chunks.follow(req_context.req_id, told)
            return
        if req_context.req_id in self._told:
            self._told[req_context.req_id].learn(req_context)
        self._chunks.advance(run)
        self._chunks.use(run)

    def insert(self, key: OffloadKey, chunk: ChunkStatus) -> None:
        """See `CachePolicy.insert`."""
        self._chunks.insert(key, chunk)

    def remove(self, key: OffloadKey) -> None:
        """See `CachePolicy.remove`."""
        self._idle -= self._chunks.remove(key).status.ref_cnt == 0

    def touch(self, keys: Iterable[OffloadKey], req_context: ReqContext) -> None:
        """See `CachePolicy.touch`."""
        for key in keys:
            self._chunks.touch(key)

    def mark_evictable(self, key: OffloadKey) -> None:
        """Note that no copy of the chunk is running any more."""
        self._idle += 1

    def mark_non_evictable(self, key: OffloadKey) -> None:
        """Note that a copy to the GPU begins: its request continues."""
        self._idle -= 1
        self._chunks.touch(key)

    def on_request_finished(
        self,
        key_groups: Sequence[Sequence[OffloadKey]],
        insertion_only_keys: set[OffloadKey],
        reused_keys: set[OffloadKey],
        req_context: ReqContext,
    ) -> None:
        """Keep the request's chunks that no other request needs by recency, the head longest: later requests may share
        the prefix."""
        self._chunks.catch_up()
        self.forget(req_context.req_id)
        unneeded = self._chunks.unneeded
        for key in reversed(order_request_keys(key_groups, req_context)):
            if key in unneeded:
                unneeded.move_to_end(key)

    def evict(self, n: int, protected: set[OffloadKey]) -> list[tuple[OffloadKey, ChunkStatus]] | None:
        """See `CachePolicy.evict`."""
        held = self._chunks.held
        spared = sum(1 for key in protected if key in held and held[key].status.ref_cnt == 0)
        if self._idle - spared < n:
            return None
        self._idle -= n
        return [(chunk.key, chunk.status) for chunk in self._chunks.take_out(n, protected)]

    def clear(self) -> None:
        """See `CachePolicy.clear`."""
        self._chunks.clear()
        self._idle = 0

    # --- called by Andante --------------------------------------------------------------------------------------

    def make_tree_of(self, group: int) -> None:
        """Set the KV cache group whose chunks determine how far a request's KV reaches; before the first store."""
        self._chunks.first_group = group

    def follow(self, request_id: str, keys: Sequence[OffloadKey]) -> None:
        """Note a new request; `keys`: of its chunks in order, growing with the request."""
        self._chunks.follow(request_id, keys)

    def forget(self, request_id: str) -> None:
        """Note that the request ended."""
        self._chunks.close(request_id)
        self._told.pop(request_id, None)

    @property
    def followed(self) -> int:
        """Number of known requests that have not ended."""
        return len(self._chunks.runs)

    def kept(self, request_id: str) -> int:
        """Number of chunks from the request's start that a lookup would find, from any request."""
        run = self._chunks.runs.get(request_id)
        if run is None:
            return 0
        self._chunks.advance(run)
        return run.length

    def take_changed(self) -> set[str]:
        """Open requests whose kept KV has changed since the last call."""
        self._chunks.catch_up()
        changed, self._chunks.changed = self._chunks.changed, set()
        return changed


class _StoredKeys(list[OffloadKey]):
    """A request's keys of one KV cache group, in order, as far as the connector has reported them."""

    def __init__(self, group: int) -> None:
        self._group, self._seen, self._chunk_tokens = group, 0, 0

    def learn(self, req_context: ReqContext) -> None:
        """Read new keys."""
        positions = req_context._offload_key_positions
        for key, position in islice(positions.items(), self._seen, None):
            if get_offload_group_idx(key) == self._group:
                self._chunk_tokens = self._chunk_tokens or position
                if position == (len(self) + 1) * self._chunk_tokens:  # other keys are ends of prompts within a chunk
                    self.append(key)
        self._seen = len(positions)


def too_small(host_chunks: int, gpu_blocks: int) -> str:
    """Advice where the host's memory holds less KV than the GPU (one block per chunk); empty where it holds enough."""
    if host_chunks >= _LEAST * gpu_blocks:
        return ""
    return (
        f"scheduler.kvOffloadGiB: the host's memory holds {host_chunks} blocks of KV, the GPUs {gpu_blocks}. What runs "
        "lies in both, so hardly any is left for whoever waits, and policy `qoe` decides as without. Make it "
        f"{_ENOUGH * gpu_blocks / max(host_chunks, 1):.1f} times as large, or 0"
    )
