"""One cached run per file: what was asked, and the scores. A bench can be stopped and resumed at any run."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.scheduling.schedulers import SCHEDULER_SOURCES, make_scheduler
from benchmarks.scheduling.scoring import score_run
from benchmarks.scheduling.sessions import session_queue, session_workload
from benchmarks.scheduling.virtual_time import Run, VirtualClock, run_workload
from benchmarks.scheduling.workload import LENGTHS, Workload, endless_queue, poisson_workload

from andante.domain.pace import PRESETS, QoEClass
from andante.profiles import load_profiles
from andante_vllm.virtual_host_link import VirtualHostLink

HARNESS_SOURCES = ("virtual_time.py", "workload.py", "sessions.py", "scoring.py")
CAPACITY_REQUESTS = 3_000
WITH_HOST = "+host"
"""Ends the name of a scheduler that runs with KV in host memory."""
HOST_KV_GIB = 240.0
"""Of the paper's four GPUs."""
NAMES = tuple(name + host for name in ("qoe", "andes", "fcfs", "priority") for host in (WITH_HOST, ""))
"""Schedulers as a bench's command line and its tables name them."""


def split_name(name: str, host_kv_gib: float) -> tuple[str, float]:
    """The scheduler of one of `NAMES`, and its GiB of host memory for KV: `host_kv_gib`, or 0 where it has none."""
    scheduler, host, _ = name.partition(WITH_HOST)
    return scheduler, host_kv_gib if host else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """One run: everything that its result depends on, but the code."""

    scheduler: str
    profile: str = "opt-66b-4xa100-estimate"
    lengths: str = "chat"
    load: float = 1.0
    """Multiple of the rate that FCFS completes with an endless queue."""
    seed: int = 1
    duration: float = 1200.0
    pace: float = 4.8
    """Tokens/s that the readers read; their expected TTFT is 1 s."""
    mix: str = "one"
    """`one`: all read at `pace`; `mixed`: half read, a quarter use an interactive chat, a quarter is batch work."""
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
    watermark: float = 0.0
    """vLLM's: the share of the KV blocks that its own admissions leave free."""
    common_prefix: int = 0
    """Tokens with which every prompt begins, before those that `lengths` draws."""
    sessions: bool = False
    """Sessions of several turns: each prompt begins with all that was said before."""
    rival_watermark: float = 0.0
    """Of the FCFS whose capacity is load 1.0."""


def classes_of(spec: RunSpec) -> tuple[tuple[QoEClass, ...], tuple[float, ...]]:
    """The classes of the run and their shares."""
    reading = replace(PRESETS["reading"], pace=spec.pace)
    if spec.mix == "one":
        return (reading,), (1.0,)
    return (reading, PRESETS["chat-interactive"], PRESETS["batch"]), (0.5, 0.25, 0.25)


def execute(spec: RunSpec, *, observer: Any = None) -> tuple[Workload, Run, Any]:
    """Runs `spec` now; the workload, what happened to it, and the scheduler as it was at the end."""
    profile = load_profiles()[spec.profile]
    classes, shares = classes_of(spec)
    rate = spec.load * capacity_of(spec) / spec.replicas
    lengths = LENGTHS[spec.lengths]
    if spec.sessions:
        workload = session_workload(
            rate=rate, duration=spec.duration, lengths=lengths, seed=spec.seed, qoe_class=classes[0]
        )
    else:
        workload = poisson_workload(
            rate=rate, duration=spec.duration, lengths=lengths, seed=spec.seed, classes=classes, shares=shares,
            surge=spec.surge, common_prefix=spec.common_prefix,
        )  # fmt: skip
    clock = VirtualClock()
    link = VirtualHostLink.of(profile, block_size=profile.block_size) if spec.kv_offload_gib else None
    scheduler = make_scheduler(
        spec.scheduler, profile=profile, clock=clock, classes=classes, options=spec.options,
        prefix_caching=spec.prefix_caching, depth=spec.depth,
        offloaded_blocks=link.blocks_in(spec.kv_offload_gib * 2**30) if link else 0, watermark=spec.watermark,
    )  # fmt: skip
    run = run_workload(
        workload, scheduler=scheduler, clock=clock, profile=profile,
        prefix_caching=spec.prefix_caching, depth=spec.depth, link=link, observer=observer,
    )  # fmt: skip
    return workload, run, scheduler


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
    workload, run, _ = execute(spec)
    result: dict[str, Any] = {
        "spec": asdict(spec),
        "scores": asdict(score_run(workload, run)),
        "steps": run.steps,
        "wall_seconds": round(time.perf_counter() - started, 1),
    }
    if len(workload.classes) > 1:
        result["per_class"] = {c.name: asdict(score_run(workload, run, only_class=c.name)) for c in workload.classes}
    _write(file, result)
    return result


def capacity_of(spec: RunSpec) -> float:
    """Requests/s of such requests that FCFS completes with an endless queue: load 1.0 of `spec`."""
    return capacity(
        spec.profile,
        spec.lengths,
        common_prefix=spec.common_prefix,
        sessions=spec.sessions,
        watermark=spec.rival_watermark,
    )


@cache
def capacity(
    profile_name: str, lengths: str, *, common_prefix: int = 0, sessions: bool = False, watermark: float = 0.0
) -> float:
    """Requests/s that vLLM's own FCFS completes with an endless queue: load 1.0."""
    asked: dict[str, Any] = {"profile": profile_name, "lengths": lengths}
    if common_prefix or sessions or watermark:
        asked |= {"common_prefix": common_prefix, "sessions": sessions, "watermark": watermark}
    file = _cache_folder() / f"capacity-{_key(asked, ())}.json"
    if file.exists():
        return float(json.loads(file.read_text())["requests_per_second"])
    profile = load_profiles()[profile_name]
    if sessions:
        workload = session_queue(requests=CAPACITY_REQUESTS, lengths=LENGTHS[lengths], seed=12345)
    else:
        workload = endless_queue(
            requests=CAPACITY_REQUESTS, lengths=LENGTHS[lengths], seed=12345, common_prefix=common_prefix
        )
    clock = VirtualClock()
    scheduler = make_scheduler("fcfs", profile=profile, clock=clock, classes=workload.classes, watermark=watermark)
    first, last = workload.requests // 6, workload.requests * 5 // 6
    run = run_workload(
        workload, scheduler=scheduler, clock=clock, profile=profile, until=lambda completed: completed > last
    )
    finish = np.sort(run.finish[~np.isnan(run.finish)])
    rate = (last - first) / float(finish[last] - finish[first])
    _write(file, {**asked, "requests_per_second": rate})
    return rate


def _cache_folder() -> Path:
    root = os.environ.get("ANDANTE_CACHE") or str(Path.home() / ".cache" / "andante")
    folder = Path(root) / "bench-scheduler"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _file(spec: RunSpec) -> Path:
    return _cache_folder() / f"{_key(asdict(spec), SCHEDULER_SOURCES[spec.scheduler])}.json"


def _key(spec: Mapping[str, Any], scheduler_sources: tuple[Path, ...]) -> str:
    """Changes with the spec, the harness, and the code of the scheduler under test."""
    digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode())
    here = Path(__file__).parent
    for source in sorted({*(here / name for name in HARNESS_SOURCES), *scheduler_sources}):
        digest.update(_meaning(source).encode())
    return digest.hexdigest()[:24]


def _meaning(source: Path) -> str:
    """The code without comments, docstrings and layout: a reformatted file makes no run stale."""
    tree = ast.parse(source.read_text())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            # A string that stands alone documents what is before it.
            node.body = [  # type: ignore[attr-defined]
                s for s in body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))
            ]
    return ast.dump(tree)


def _write(file: Path, result: Mapping[str, Any]) -> None:
    scratch = file.with_suffix(f".{os.getpid()}.tmp")
    scratch.write_text(json.dumps(result))
    scratch.replace(file)
