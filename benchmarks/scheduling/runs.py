"""One cached run per file: what was asked, and the scores. A bench can be stopped and resumed at any run."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks import kept_runs
from benchmarks.scheduling.model_runs import SCHEDULERS, run_model
from benchmarks.scheduling.replays import replay, replay_queue
from benchmarks.scheduling.schedulers import MODEL_SOURCES, SCHEDULER_SOURCES, make_scheduler
from benchmarks.scheduling.scoring import score_run
from benchmarks.scheduling.sessions import session_queue, session_workload
from benchmarks.scheduling.stock import BEST, DEFAULT, StockFlags
from benchmarks.scheduling.virtual_time import Run, VirtualClock, run_workload
from benchmarks.scheduling.workload import LENGTHS, Workload, endless_queue, poisson_workload, with_patience

from andante.domain.pace import PRESETS, QoEClass
from andante.profiles import load_profiles
from andante_vllm.virtual_host_link import VirtualHostLink

_HARNESS = [
    Path(__file__).parent / name
    for name in ("virtual_time.py", "workload.py", "sessions.py", "replays.py", "patience.py", "scoring.py")
]
CAPACITY_REQUESTS = 3_000
WITH_HOST = "+host"
"""Ends the name of a scheduler that runs with KV in host memory."""
HOST_KV_GIB = 240.0
"""Of the paper's four GPUs."""
ENGINES = ("vllm", "model")
"""What can run a spec. `vllm`: vLLM's own classes in virtual time; `model`: the compiled model of its step loop, which
gives the same to the last token, but has no async scheduling."""
MIXES: Mapping[str, Mapping[str, float]] = {
    "readers": {"reading": 0.7, "chat-interactive": 0.3},
    "mixed": {"reading": 0.5, "chat-interactive": 0.25, "batch": 0.25},
}
"""The share of each class; `RunSpec.pace` is that of `reading`."""
BY_DEFAULT = "-default"
"""Ends the name of a stock scheduler that runs with vLLM's default flags; without it, the best flags (`stock.BEST`)."""
NAMES = (
    *(
        name + host
        for name in ("qoe", "andes", "fcfs", "priority", "shortest", "las", "edf")
        for host in (WITH_HOST, "")
    ),
    "fcfs" + BY_DEFAULT,
)
"""Schedulers as a bench's command line and its tables name them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """One run: everything that its result depends on, but the code."""

    scheduler: str
    profile: str = "opt-66b-4xa100-estimate"
    lengths: str = "chat"
    load: float = 1.0
    """Multiple of the rate that vLLM's FCFS completes with an endless queue, with the flags `reference`."""
    seed: int = 1
    duration: float = 1200.0
    pace: float = 4.8
    """Tokens/s that the readers read; their expected TTFT is 1 s."""
    mix: str = "one"
    """`one`: all read at `pace`; or one of `MIXES`."""
    surge: tuple[float, float, float] | None = None
    """Start (s), length (s), factor."""
    depth: int = 1
    prefix_caching: bool = True
    replicas: int = 1
    """The arrivals are spread over that many replicas; one of them is run."""
    kv_offload_gib: float = 0.0
    """Host memory for KV, GiB of the whole replica; 0: what is taken off is computed again."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the scheduler's policy, for ablations."""
    stock: StockFlags = DEFAULT
    """vLLM's flags. The watermark is that of its own admissions; those of the batch hold for every scheduler."""
    common_prefix: int = 0
    """Tokens with which every prompt begins, before those that `lengths` draws."""
    sessions: bool = False
    """Sessions of several turns: each prompt begins with all that was said before."""
    trace: str = ""
    """Name of a recorded trace (`replays.TRACES`) in place of `lengths` and Poisson arrivals; `duration` is its own."""
    reference: StockFlags = BEST
    """Of the FCFS whose capacity is load 1.0."""
    patience: float | None = None
    """Mean patience of the readers in seconds, exponential; None: they wait for ever."""
    engine: str = "vllm"
    """One of `ENGINES`."""


def named(name: str, spec: RunSpec, *, host_kv_gib: float = HOST_KV_GIB) -> RunSpec:
    """`spec` for one of `NAMES`; `host_kv_gib`: the host memory of those that have one.

    What the compiled model does not have runs on vLLM's classes whatever `spec` says.
    """
    plain = name.removesuffix(BY_DEFAULT)
    scheduler = plain.removesuffix(WITH_HOST)
    ours = scheduler not in ("fcfs", "priority")
    modelled = scheduler in SCHEDULERS and spec.depth == 1
    return replace(
        spec,
        engine=spec.engine if modelled else "vllm",
        scheduler=scheduler,
        kv_offload_gib=host_kv_gib if plain != scheduler else 0.0,
        stock=DEFAULT if ours or plain != name else BEST,
    )


def name_of(spec: Mapping[str, Any]) -> str:
    """The one of `NAMES` for which `named` made a spec, given as a mapping."""
    host = WITH_HOST if spec["kv_offload_gib"] else ""
    default = BY_DEFAULT if spec["scheduler"] == "fcfs" and not any(spec["stock"].values()) else ""
    return str(spec["scheduler"]) + host + default


def classes_of(spec: RunSpec) -> tuple[tuple[QoEClass, ...], tuple[float, ...]]:
    """The classes of the run and their shares."""
    reading = replace(PRESETS["reading"], pace=spec.pace)
    if spec.mix == "one":
        return (reading,), (1.0,)
    mix = MIXES[spec.mix]
    return tuple(reading if name == reading.name else PRESETS[name] for name in mix), tuple(mix.values())


def workload_of(spec: RunSpec) -> Workload:
    """The requests of `spec`."""
    classes, shares = classes_of(spec)
    rate = spec.load * capacity_of(spec) / spec.replicas
    lengths = LENGTHS[spec.lengths]
    if spec.trace:
        workload = replay(spec.trace, rate=rate, qoe_class=classes[0])
    elif spec.sessions:
        workload = session_workload(
            rate=rate, duration=spec.duration, lengths=lengths, seed=spec.seed, qoe_class=classes[0]
        )
    else:
        workload = poisson_workload(
            rate=rate, duration=spec.duration, lengths=lengths, seed=spec.seed, classes=classes, shares=shares,
            surge=spec.surge, common_prefix=spec.common_prefix,
        )  # fmt: skip
    return workload if spec.patience is None else with_patience(workload, mean=spec.patience, seed=spec.seed)


def execute(spec: RunSpec, *, observer: Any = None) -> tuple[Workload, Run, Any]:
    """Runs `spec` now on vLLM's classes; the workload, what happened to it, and the scheduler as it was at the end."""
    profile = load_profiles()[spec.profile]
    workload = workload_of(spec)
    clock = VirtualClock()
    link = VirtualHostLink.of(profile, block_size=profile.block_size) if spec.kv_offload_gib else None
    scheduler = make_scheduler(
        spec.scheduler, profile=profile, clock=clock, classes=workload.classes, options=spec.options,
        prefix_caching=spec.prefix_caching, depth=spec.depth, stock=spec.stock, max_model_len=workload.max_model_len,
        offloaded_blocks=link.blocks_in(spec.kv_offload_gib * 2**30) if link else 0,
    )  # fmt: skip
    run = run_workload(
        workload, scheduler=scheduler, clock=clock, profile=profile,
        prefix_caching=spec.prefix_caching, depth=spec.depth, link=link, observer=observer,
    )  # fmt: skip
    return workload, run, scheduler


def _result(spec: RunSpec) -> tuple[Workload, Run]:
    if spec.engine == "vllm":
        workload, run, _ = execute(spec)
        return workload, run
    if spec.depth > 1:
        raise ValueError("the model has no async scheduling: run it with vLLM's classes")
    workload = workload_of(spec)
    return workload, run_model(
        workload, scheduler=spec.scheduler, profile=load_profiles()[spec.profile], stock=spec.stock,
        options=spec.options, prefix_caching=spec.prefix_caching, host_bytes=spec.kv_offload_gib * 2**30,
    )  # fmt: skip


def cached_result(spec: RunSpec) -> dict[str, Any] | None:
    """The result of `spec` if it has been run with this very code."""
    file = _file(spec)
    if not file.exists():
        return None
    known: dict[str, Any] = json.loads(file.read_text())
    return known


def cached_run(spec: RunSpec) -> dict[str, Any]:
    """The result of `spec`: from the cache, or from a run made now and kept there."""
    known = cached_result(spec)
    if known is not None:
        return known
    file = _file(spec)  # before the run: the code may be edited while it takes its time
    started = time.perf_counter()
    workload, run = _result(spec)
    result: dict[str, Any] = {
        "spec": asdict(spec),
        "scores": asdict(score_run(workload, run)),
        "steps": run.steps,
        "wall_seconds": round(time.perf_counter() - started, 1),
    }
    if len(workload.classes) > 1:
        result["per_class"] = {c.name: asdict(score_run(workload, run, only_class=c.name)) for c in workload.classes}
    kept_runs.keep(file, result)
    return result


def capacity_of(spec: RunSpec) -> float:
    """Requests/s of such requests that vLLM's FCFS at its best completes with an endless queue: load 1.0 of `spec`."""
    return capacity(
        spec.profile, spec.lengths, common_prefix=spec.common_prefix, sessions=spec.sessions, trace=spec.trace,
        stock=spec.reference, engine=spec.engine,
    )  # fmt: skip


@cache
def capacity(
    profile_name: str,
    lengths: str,
    *,
    common_prefix: int = 0,
    sessions: bool = False,
    trace: str = "",
    stock: StockFlags = BEST,
    engine: str = "vllm",
) -> float:
    """Requests/s that vLLM's own FCFS with the flags `stock` completes with an endless queue.

    `engine`: what finds out; both find the same.
    """
    asked: dict[str, Any] = {
        "profile": profile_name,
        "lengths": lengths,
        "common_prefix": common_prefix,
        "sessions": sessions,
        "trace": trace,
        "stock": asdict(stock),
    }
    sources = {*_HARNESS, *(MODEL_SOURCES if engine == "model" else ())}
    file = kept_runs.file_of("bench-scheduler", asked, sources, prefix="capacity-")
    if file.exists():
        return float(json.loads(file.read_text())["requests_per_second"])
    profile = load_profiles()[profile_name]
    if trace:
        workload = replay_queue(trace)
    elif sessions:
        workload = session_queue(requests=CAPACITY_REQUESTS, lengths=LENGTHS[lengths], seed=12345)
    else:
        workload = endless_queue(
            requests=CAPACITY_REQUESTS, lengths=LENGTHS[lengths], seed=12345, common_prefix=common_prefix
        )
    first, last = workload.requests // 6, workload.requests * 5 // 6
    if engine == "model":
        run = run_model(workload, scheduler="fcfs", profile=profile, stock=stock, options={})
    else:
        clock = VirtualClock()
        scheduler = make_scheduler(
            "fcfs", profile=profile, clock=clock, classes=workload.classes, stock=stock,
            max_model_len=workload.max_model_len,
        )  # fmt: skip
        run = run_workload(
            workload, scheduler=scheduler, clock=clock, profile=profile, until=lambda completed: completed > last
        )
    finish = np.sort(run.finish[~np.isnan(run.finish)])
    rate = (last - first) / float(finish[last] - finish[first])
    kept_runs.keep(file, {**asked, "requests_per_second": rate})
    return rate


def _file(spec: RunSpec) -> Path:
    sources = (*SCHEDULER_SOURCES[spec.scheduler], *(MODEL_SOURCES if spec.engine == "model" else ()))
    return kept_runs.file_of("bench-scheduler", asdict(spec), {*_HARNESS, *sources})


def version_of(scheduler: str) -> str:
    """Names the code of a scheduler without its history: the same code has the same version in every commit."""
    return kept_runs.version_of(SCHEDULER_SOURCES[scheduler])
