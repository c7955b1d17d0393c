"""Runs a spec on the compiled model of vLLM's step loop (`andante.sim`): 20 minutes in about a second."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from benchmarks.scheduling.andes_in_model import andes
from benchmarks.scheduling.rivals import RIVALS, Decide
from benchmarks.scheduling.stock import StockFlags, engine_with
from benchmarks.scheduling.virtual_time import Run
from benchmarks.scheduling.workload import CHUNK, Workload
from numpy.typing import NDArray

from andante.domain.scheduling import qoe_plan
from andante.domain.scheduling.qoe_settings import QoEPolicySettings
from andante.domain.step_time import DEFAULT_STEP_TIME, LinearStepTime, Profile
from andante.sim.engine import Engine
from andante.sim.requests import NO_SOURCE, Requests
from andante.sim.run import Scheduling, simulate
from andante_vllm.host_kv_cache import too_small
from andante_vllm.virtual_host_link import HOST_LINK_BYTES_PER_SECOND

DECIDE: Mapping[str, Decide] = {"qoe": qoe_plan.decide, "andes": andes, **RIVALS}
SCHEDULERS = ("fcfs", "priority", *DECIDE)
"""What the model can run."""


def run_model(
    workload: Workload,
    *,
    scheduler: str,
    profile: Profile,
    stock: StockFlags,
    options: Mapping[str, Any],
    prefix_caching: bool = True,
    host_bytes: float = 0.0,
) -> Run:
    """What happens to `workload` on one replica of `profile`, with `host_bytes` of host memory for KV.

    Raises ValueError for what the model does not have.
    """
    if scheduler not in SCHEDULERS:
        raise ValueError(f"the model has no {scheduler}: run it with vLLM's classes")
    engine = engine_with(
        profile, stock, prefix_caching=prefix_caching, by_priority=scheduler == "priority", host_bytes=host_bytes,
        host_link=profile.tensor_parallel * HOST_LINK_BYTES_PER_SECOND,
        host_lru=not options.get("ended_first", True),
    )  # fmt: skip
    source, shared = _shared(workload)
    requests = Requests.of(
        arrival=workload.arrival,
        prompt_tokens=workload.prompt_tokens,
        output_tokens=workload.output_tokens,
        classes=workload.classes,
        class_of=workload.class_of,
        most_tokens=workload.max_model_len,
        patience=np.inf if workload.patience is None else workload.patience,
        priority=[-round(workload.classes[int(of)].pace * 100) for of in workload.class_of],
        source=source,
        shared=shared,
    )
    outcome = simulate(requests, engine, _scheduling(scheduler, profile, engine, options), record_times=True)
    assert outcome.token_times is not None
    return Run(
        delivery=outcome.token_times,
        end=outcome.end,
        steps=outcome.steps,
        preemptions=outcome.all_preemptions,
        recomputed_tokens=outcome.recomputed_tokens,
        busy_seconds=outcome.busy,
        finish=outcome.finish,
        left=np.where(outcome.left, outcome.finish - workload.arrival, np.nan),
    )


def _scheduling(name: str, profile: Profile, engine: Engine, options: Mapping[str, Any]) -> Scheduling | None:
    if name in ("fcfs", "priority"):
        return None
    rest = {"kv_offload": engine.host_blocks > 0, **options}  # as `make_scheduler`
    if name == "qoe" and too_small(engine.host_blocks, engine.blocks):
        rest["kv_offload"] = False  # as the engine's start decides it
    rest.pop("ended_first", None)
    seed = LinearStepTime.from_profile(profile.coefficients)
    return Scheduling(
        decide=DECIDE[name],
        step_time=seed if rest.pop("true_step_time", True) else DEFAULT_STEP_TIME,
        learns_step_time=rest.pop("online_step_time", True),
        learns_lengths=rest.pop("online_lengths", True),
        settings=QoEPolicySettings(**rest),
    )


def _shared(workload: Workload) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of each request the earlier one that it begins like, and the tokens that both begin with."""
    count = workload.requests
    source, shared = np.full(count, NO_SOURCE), np.zeros(count, dtype=np.int64)
    if workload.follows is not None:
        source = workload.follows.copy()
        known = workload.prompt_tokens + workload.output_tokens
        shared = np.where(source >= 0, known[source], 0)
    elif workload.chunks is not None:
        holders: dict[int, int] = {}  # names of chunks are those of whole prefixes: one name, one beginning
        for index, chunks in enumerate(workload.chunks):
            for place, name in enumerate(chunks):
                if name in holders:
                    source[index] = holders[name]
                    shared[index] = min((place + 1) * CHUNK, *workload.prompt_tokens[[index, holders[name]]].tolist())
                else:
                    holders[name] = index
    elif workload.common_prefix and count:
        source[1:], shared[1:] = 0, workload.common_prefix
    return source, shared
