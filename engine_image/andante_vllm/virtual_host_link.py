"""Simulates the link between a virtual GPU and its host's memory, in place of vLLM's offloading worker.

vLLM's OffloadingConnector decides on the scheduler's side which blocks are copied; its worker, which needs a GPU,
reports completed copies. This module replaces the worker: no bytes are copied, and each copy takes the time of its
bytes on a link of a given speed, one after the other in each direction. Time is passed in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from vllm.distributed.kv_transfer.kv_connector.v1.offloading.common import (
    OffloadingConnectorMetadata,
    OffloadingWorkerMetadata,
    TransferJob,
)
from vllm.v1.kv_offload.cpu.shared_offload_region import SharedOffloadRegion
from vllm.v1.outputs import KVConnectorOutput

from andante.domain.step_time import Profile

HOST_LINK_BYTES_PER_SECOND = 25e9
"""Speed for one GPU in each direction; an assumption: four fifths of PCIe 4.0 x16's 31.5 GB/s."""


def connector_bytes(blocks: int) -> int:
    """`cpu_bytes_to_use` for `blocks` blocks without KV: the connector rounds each up to a page of the host."""
    return blocks * int(SharedOffloadRegion.BLOCK_SIZE_ALIGNMENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Copy:
    """A running copy."""

    due: float
    kv_bytes: int
    seconds: float
    loads: str | None
    """The request whose KV comes back; None for a copy to the host."""


class VirtualHostLink:
    """Both directions of the link. The order of calls is as in vLLM's model runner: `begin` a step, then `arrived`."""

    def __init__(self, *, block_bytes: int, bytes_per_second: float) -> None:
        """`block_bytes`: KV of one block. `bytes_per_second`: in each direction, all GPUs of the replica together."""
        self._block_bytes, self._bytes_per_second = block_bytes, bytes_per_second
        self._to_host = self._from_host = 0.0
        self._under_way: dict[int, _Copy] = {}
        self._next_stores: dict[int, TransferJob] = {}

    @classmethod
    def of(cls, profile: Profile, *, block_size: int, time_scale: float = 1.0) -> Self:
        """The link of a replica with `profile`, `time_scale` times as slow; `block_size`: tokens of a block.

        Raises ValueError for a profile that does not know the size of a token's KV.
        """
        if not profile.kv_bytes_per_token:
            raise ValueError(f"profile {profile.name}: kv_bytes_per_token is missing; KV in host memory needs it")
        speed = profile.tensor_parallel * HOST_LINK_BYTES_PER_SECOND / time_scale
        return cls(block_bytes=profile.kv_bytes_per_token * block_size, bytes_per_second=speed)

    def blocks_in(self, host_bytes: float) -> int:
        """Number of whole blocks in `host_bytes` of the host's memory."""
        return int(host_bytes / self._block_bytes)

    def begin(self, metadata: OffloadingConnectorMetadata, now: float) -> float:
        """Start the copies of the step that begins at `now`, in seconds; return when the step may begin.

        As in vLLM's worker, a step's new KV is copied to the host during the next step, and a step that will overwrite
        blocks waits until their copies are complete.
        """
        flushed = metadata.jobs_to_flush or set()
        stores = self._next_stores | {job: t for job, t in metadata.store_jobs.items() if job in flushed}
        self._next_stores = {job: t for job, t in metadata.store_jobs.items() if job not in flushed}
        for job, transfer in stores.items():
            self._to_host = self._start(job, transfer, max(self._to_host, now), loads=None)
        for job, transfer in metadata.load_jobs.items():
            self._from_host = self._start(job, transfer, max(self._from_host, now), loads=transfer.req_id)
        return max([now, *(self._under_way[job].due for job in flushed if job in self._under_way)])

    def arrived(self, now: float) -> KVConnectorOutput:
        """The copies that are complete at `now` and were not reported before."""
        done = {job: copy for job, copy in self._under_way.items() if copy.due <= now}
        report = OffloadingWorkerMetadata(completed_jobs=dict.fromkeys(done, 1))
        for job, copy in done.items():
            del self._under_way[job]
            direction = report.transfer_stats.store if copy.loads is None else report.transfer_stats.load
            direction.record(copy.kv_bytes, copy.seconds)
        return KVConnectorOutput(
            finished_recving={copy.loads for copy in done.values() if copy.loads is not None},
            kv_connector_worker_meta=report if done else None,
        )

    def next_arrival(self) -> float | None:
        """When the next running copy is complete; None when there is none."""
        return min((copy.due for copy in self._under_way.values()), default=None)

    def _start(self, job: int, transfer: TransferJob, start: float, *, loads: str | None) -> float:
        # One side of a copy are the GPU's blocks, the other side chunks of the host's pool.
        blocks = max(len(transfer.src_spec.block_ids), len(transfer.dst_spec.block_ids))
        kv_bytes = blocks * self._block_bytes
        seconds = kv_bytes / self._bytes_per_second
        self._under_way[job] = _Copy(due=start + seconds, kv_bytes=kv_bytes, seconds=seconds, loads=loads)
        return start + seconds
