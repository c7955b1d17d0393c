"""The schedulers under test, by name, built for virtual time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.scheduling.stock import DEFAULT, StockFlags
from benchmarks.scheduling.virtual_time import VirtualClock, build_scheduler
from benchmarks.scheduling.workload import MAX_MODEL_LEN
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler

from andante.domain.pace import QoEClass
from andante.domain.step_time import Profile

_ROOT = Path(__file__).resolve().parents[2]
_OURS = (
    _ROOT / "operator/andante/domain/compiled.py",
    _ROOT / "operator/andante/domain/step_time.py",
    *sorted((_ROOT / "operator/andante/domain/scheduling").glob("*.py")),
    *(
        _ROOT / f"engine_image/andante_vllm/{name}.py"
        for name in (
            "adapter_limit",
            "adapter_slots",
            "decisions",
            "eligibility",
            "host_kv_cache",
            "prefix_reuse",
            "scheduler",
            "scheduler_columns",
            "scheduler_table",
            "scheduler_view",
            "step_books",
            "vllm_seam",
            "waiting_queue",
        )
    ),
)
_RIVALS = (*_OURS, _ROOT / "benchmarks/scheduling/rivals.py")
SCHEDULER_SOURCES: Mapping[str, tuple[Path, ...]] = {
    "fcfs": (),
    "priority": (),
    "andes": _OURS,
    "qoe": _OURS,
    "shortest": _RIVALS,
    "las": _RIVALS,
    "edf": _RIVALS,
}
"""Files whose change makes a cached run stale; vLLM's own schedulers are pinned by version."""
MODEL_SOURCES = (
    *sorted((_ROOT / "operator/andante/sim").glob("*.py")),
    _ROOT / "benchmarks/scheduling/model_runs.py",
    _ROOT / "benchmarks/scheduling/andes_in_model.py",
    _ROOT / "benchmarks/scheduling/stock.py",
    _ROOT / "engine_image/andante_vllm/host_kv_cache.py",
    _ROOT / "engine_image/andante_vllm/virtual_host_link.py",
)
"""The same, for runs on the compiled model."""


def make_scheduler(
    name: str,
    *,
    profile: Profile,
    clock: VirtualClock,
    classes: tuple[QoEClass, ...],
    options: Mapping[str, Any] | None = None,
    prefix_caching: bool = True,
    depth: int = 1,
    offloaded_blocks: int = 0,
    stock: StockFlags = DEFAULT,
    max_model_len: int = MAX_MODEL_LEN,
    draft_tokens: int = 0,
) -> Any:
    """`fcfs` and `priority` are vLLM's own classes; all others are QoEScheduler with that policy.

    `stock`: vLLM's flags, the engine's whatever schedules.
    """
    settings: dict[str, Any] = {
        "kv_blocks": profile.kv_capacity_blocks,
        "block_size": profile.block_size,
        "max_num_seqs": stock.max_num_seqs or profile.max_num_seqs,
        "max_num_batched_tokens": stock.max_num_batched_tokens or profile.max_num_batched_tokens,
        "long_prefill": stock.long_prefill,
        "max_model_len": max_model_len,
        "prefix_caching": prefix_caching,
        "async_scheduling": depth > 1,
        "offloaded_blocks": offloaded_blocks,
        "watermark": stock.watermark,
        "draft_tokens": draft_tokens,
        "draft_method": "ngram" if depth == 1 else "ngram_gpu",
    }
    if name in ("fcfs", "priority"):
        return build_scheduler(AsyncScheduler if depth > 1 else Scheduler, policy=name, **settings)
    from benchmarks.scheduling.ours import virtual_qoe_scheduler

    if name != "andes" and offloaded_blocks:
        options = {"kv_offload": True, **(options or {})}  # as engine.yaml's kvOffloadGib does
    return build_scheduler(
        virtual_qoe_scheduler(policy=name, clock=clock, classes=classes, profile=profile, options=options or {}),
        **settings,
    )
