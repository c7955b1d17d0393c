"""Which KV in host memory to give up first: what no request in the engine needs, so that whoever was taken off returns.

vLLM's OffloadingConnector copies every block to the host and gives up what was used longest ago, whoever needs it.
A request that the scheduler takes off uses nothing while it waits, so its KV would be the first to go, although it is
the only one that is sure to be asked for again. This policy (vLLM's plug-in interface for them, by
`cache_policy_module_path`) gives up the chunks first that a lookup would find for none of the requests in the engine;
then whole requests, the longest idle first and from their ends; those that run use theirs all the time and so come
last. A prefix that several share goes with the last of them.
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
    """See the module. It knows a request from `follow`, or from when it first stores a chunk."""

    def __init__(self, cache_capacity: int) -> None:
        """`cache_capacity`: chunks that the host's memory holds."""
        super().__init__(cache_capacity)
        self._chunks = KVChunks()
        self._told: dict[str, _StoredKeys] = {}
        """Keys of those that were not followed: the connector tells them as the request stores."""
        self._idle = 0
        """Chunks of which no copy is under way."""

    # --- what vLLM calls ----------------------------------------------------------------------------------------

    def get(self, key: OffloadKey) -> ChunkStatus | None:
        """See `CachePolicy.get`."""
        chunk = self._chunks.held.get(key)
        return None if chunk is None else chunk.status

    def on_store_miss(self, keys: Iterable[OffloadKey], req_context: ReqContext) -> None:
        """It is served; what it stores comes next."""
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
        """No copy of it is under way any more."""
        self._idle += 1

    def mark_non_evictable(self, key: OffloadKey) -> None:
        """A copy to the GPU begins: whoever it is for goes on."""
        self._idle -= 1
        self._chunks.touch(key)

    def on_request_finished(
        self,
        key_groups: Sequence[Sequence[OffloadKey]],
        insertion_only_keys: set[OffloadKey],
        reused_keys: set[OffloadKey],
        req_context: ReqContext,
    ) -> None:
        """What nobody else needs is now a prefix that somebody may share: kept by recency, its head longest."""
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

    # --- what Andante asks --------------------------------------------------------------------------------------

    def make_tree_of(self, group: int) -> None:
        """The KV cache group whose chunks say how far a request's KV reaches; before anything is stored."""
        self._chunks.first_group = group

    def follow(self, request_id: str, keys: Sequence[OffloadKey]) -> None:
        """A request came; `keys`: of its chunks in order, growing with it."""
        self._chunks.follow(request_id, keys)

    def forget(self, request_id: str) -> None:
        """It ended, or is gone already."""
        self._chunks.close(request_id)
        self._told.pop(request_id, None)

    @property
    def followed(self) -> int:
        """Requests that have not ended, as far as is known here."""
        return len(self._chunks.runs)

    def kept(self, request_id: str) -> int:
        """Chunks from its start that a lookup would find, whoever stored them."""
        run = self._chunks.runs.get(request_id)
        if run is None:
            return 0
        self._chunks.advance(run)
        return run.length

    def take_changed(self) -> set[str]:
        """Requests, not ended, of which more or less is kept than when this was asked last."""
        self._chunks.catch_up()
        changed, self._chunks.changed = self._chunks.changed, set()
        return changed


class _StoredKeys(list[OffloadKey]):
    """A request's keys of one KV cache group, in order, as far as the connector has told them."""

    def __init__(self, group: int) -> None:
        self._group, self._seen, self._chunk_tokens = group, 0, 0

    def learn(self, req_context: ReqContext) -> None:
        """Reads those that have come since."""
        positions = req_context._offload_key_positions
        for key, position in islice(positions.items(), self._seen, None):
            if get_offload_group_idx(key) == self._group:
                self._chunk_tokens = self._chunk_tokens or position
                if position == (len(self) + 1) * self._chunk_tokens:  # others are ends of prompts within a chunk
                    self.append(key)
        self._seen = len(positions)


def too_small(host_chunks: int, gpu_blocks: int) -> str:
    """What to do where the host's memory holds less KV than the GPU, one block a chunk; empty where it holds enough."""
    if host_chunks >= _LEAST * gpu_blocks:
        return ""
    return (
        f"scheduler.kvOffloadGiB: the host's memory holds {host_chunks} blocks of KV, the GPUs {gpu_blocks}. What runs "
        "lies in both, so hardly any is left for whoever waits, and policy `qoe` decides as without. Make it "
        f"{_ENOUGH * gpu_blocks / max(host_chunks, 1):.1f} times as large, or 0"
    )
