"""One virtual-GPU engine under an open-loop workload, in real time through the whole server, and its virtual twin.

The server's engine is scaled down: half as fast as the profile with a quarter of its KV memory, so that two small cores
carry it, client included. Lengths are known to the engine on both sides (the client sends them as max_tokens).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from benchmarks.scheduling.schedulers import make_scheduler
from benchmarks.scheduling.scoring import Scores, score_run
from benchmarks.scheduling.virtual_time import VirtualClock, run_workload
from benchmarks.scheduling.workload import LENGTHS, Workload, endless_queue, poisson_workload
from hack.engine_process import EngineProcess

from andante.cli.bench import BenchOptions, Progress, RequestResult, run_bench
from andante.domain.pace import PRESETS
from andante.domain.step_time import Profile
from andante.domain.trace import TraceRequest
from andante.profiles import load_profiles
from andante_vllm.virtual_host_link import VirtualHostLink

PROFILE = "opt-66b-4xa100-estimate"
TIME_SCALE = 2.0
KV_BLOCKS = 1_072
LONGEST = 4_096
READING = PRESETS["reading"]
CAPACITY_REQUESTS = 600


def small_profile() -> Profile:
    """The profile as the scaled-down engine runs it."""
    profile = load_profiles()[PROFILE]
    return replace(
        profile,
        coefficients=profile.coefficients.scaled(TIME_SCALE),
        kv_capacity_tokens=KV_BLOCKS * profile.block_size,
    )


def engine_config(policy: str, *, asynchronous: bool, kv_offload_gib: float = 0.0) -> dict[str, Any]:
    """engine.yaml of that engine; `kv_offload_gib`: host memory for KV."""
    return {
        "model": {"id": "tiny", "source": "synthetic", "servedName": "tiny", "maxModelLen": LONGEST},
        "virtualGpu": {
            "profile": PROFILE,
            "timeScale": TIME_SCALE,
            "kvCapacityTokens": KV_BLOCKS * load_profiles()[PROFILE].block_size,
            "asyncScheduling": asynchronous,
        },
        "scheduler": {"policy": policy, "kvOffloadGib": kv_offload_gib},
        "extraArgs": ["--disable-uvicorn-access-log"],
    }


def capacity() -> float:
    """Requests/s that FCFS completes with an endless queue on the scaled-down engine."""
    queue = endless_queue(requests=CAPACITY_REQUESTS, lengths=LENGTHS["chat"], seed=12345)
    profile, clock = small_profile(), VirtualClock()
    scheduler = make_scheduler("fcfs", profile=profile, clock=clock, classes=queue.classes)
    first, last = CAPACITY_REQUESTS // 6, CAPACITY_REQUESTS * 5 // 6
    ended: list[float] = []

    def enough(completed: int) -> bool:
        ended.extend([clock.now] * (completed - len(ended)))
        return completed > last

    run_workload(queue, scheduler=scheduler, clock=clock, profile=profile, until=enough)
    return (last - first) / (ended[last] - ended[first])


def workload(*, load: float, duration: float, seed: int, surge: tuple[float, float, float] | None = None) -> Workload:
    """Chat lengths, reading class."""
    return poisson_workload(
        rate=load * capacity(), duration=duration, lengths=LENGTHS["chat"], seed=seed, classes=(READING,), surge=surge
    )


def in_virtual_time(work: Workload, policy: str, *, depth: int, kv_offload_gib: float = 0.0) -> Scores:
    """The scores of `work` on the same engine without a server."""
    profile, clock = small_profile(), VirtualClock()
    link = VirtualHostLink.of(profile, block_size=profile.block_size, time_scale=TIME_SCALE)
    scheduler = make_scheduler(
        policy, profile=profile, clock=clock, classes=work.classes, depth=depth,
        offloaded_blocks=link.blocks_in(kv_offload_gib * 2**30),
    )  # fmt: skip
    add = scheduler.add_request

    def add_with_length(request: Any) -> None:
        request.max_tokens = int(work.output_tokens[int(request.request_id)])
        add(request)

    scheduler.add_request = add_with_length
    run = run_workload(
        work, scheduler=scheduler, clock=clock, profile=profile, depth=depth, link=link if kv_offload_gib else None
    )
    return score_run(work, run)


async def through_the_server(
    work: Workload, engine: EngineProcess, *, on_tick: Callable[[Progress], Awaitable[None] | None] | None = None
) -> list[RequestResult]:
    """What a client of the running `engine` saw of `work`."""
    requests = [
        TraceRequest(arrival_s=float(at), prompt_tokens=int(prompt), output_tokens=int(output))
        for at, prompt, output in zip(work.arrival, work.prompt_tokens, work.output_tokens, strict=True)
    ]
    options = BenchOptions(url=engine.url, model="tiny", qoe_class=READING, send_class_header=False)
    return await run_bench(requests, options, on_tick=on_tick)
