"""Knows which KV of each request the host's memory holds, by the request's own keys: any request may have stored it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

from vllm.distributed.kv_transfer.kv_connector.v1.offloading_connector import OffloadingConnector
from vllm.v1.kv_offload.base import OffloadKey, make_offload_key
from vllm.v1.request import Request, RequestStatus

from andante_vllm.host_kv_cache import EndedFirst


class HostKV:
    """One engine's host memory for KV, for the scheduler."""

    def __init__(self, connector: Any, policy: EndedFirst) -> None:
        """`connector`: the scheduler's side of vLLM's OffloadingConnector, which works with `policy`."""
        self._connector, self.policy = connector, policy
        groups = connector.config.kv_group_configs
        self._group = groups[(connector._full_attention_groups or (0,))[0]]
        self._alone = len(groups) == 1 and bool(connector._full_attention_groups)
        """Whether the chunks of one group, without a gap, determine a request's KV."""
        policy.make_tree_of(self._group.group_idx)
        self._ended: list[str] = []

    @property
    def chunk_tokens(self) -> int:
        """Tokens of a chunk."""
        return int(self._group.tokens_per_chunk)

    @property
    def chunks(self) -> int:
        """Number of chunks that the memory holds."""
        return int(self.policy.cache_capacity)

    def enters(self, request: Request) -> None:
        """Note that the request arrived."""
        keys = _RequestKeys(request, group=self._group.group_idx, hashes=self._group.hashes_per_chunk)
        self.policy.follow(request.request_id, keys)

    def leaves(self, request: Request) -> None:
        """Note that the request ended. The next step stores its last chunk; then vLLM reports that it is finished."""
        self._ended.append(request.request_id)

    def stepped(self) -> None:
        """Note that a step was scheduled: the last chunks of requests that ended before it have been stored."""
        for request_id in self._ended:
            self.policy.forget(request_id)  # vLLM does not report a request that has stored nothing since a reset
        self._ended.clear()

    def take_changed(self) -> set[str]:
        """Requests whose kept KV has changed since the last call."""
        return self.policy.take_changed()

    def kept(self, request: Request) -> int:
        """Tokens from the request's start that would come back from the host now."""
        if request.skip_reading_prefix_cache:
            return 0
        reach = self.policy.kept(request.request_id) * self.chunk_tokens
        # For a running request, the other groups' chunks follow this group's chunks, so this is accurate enough.
        if self._alone or not reach or request.status is RequestStatus.RUNNING:
            return reach
        return min(self._found(request), reach)

    def _found(self, request: Request) -> int:
        """Tokens that vLLM's own lookup would find if the GPU held none; a running copy counts."""
        state = self._connector._req_status[request.request_id]
        state.update_offload_keys()
        on_gpu, state.num_locally_computed_tokens = state.num_locally_computed_tokens, 0
        try:
            found = self._connector._lookup_complete_chunks(state)
        finally:
            state.num_locally_computed_tokens = on_gpu
        return request.num_tokens if found is None else int(found)


class _RequestKeys(Sequence[OffloadKey]):
    """The keys of a request's whole chunks, in order, from its present block hashes."""

    def __init__(self, request: Request, *, group: int, hashes: int) -> None:
        self._of, self._group, self._each = request.block_hashes, group, hashes

    def __len__(self) -> int:
        return len(self._of) // self._each

    @overload
    def __getitem__(self, index: int) -> OffloadKey: ...
    @overload
    def __getitem__(self, index: slice) -> list[OffloadKey]: ...
    def __getitem__(self, index: int | slice) -> OffloadKey | list[OffloadKey]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return make_offload_key(self._of[(index + 1) * self._each - 1], self._group)


def of(connector: Any) -> HostKV | None:
    """The host memory behind a scheduler's KV connector; None without host memory, or with another policy."""
    if not isinstance(connector, OffloadingConnector) or connector.connector_scheduler is None:
        return None
    policy = getattr(connector.connector_scheduler.manager, "_policy", None)
    return HostKV(connector.connector_scheduler, policy) if isinstance(policy, EndedFirst) else None
