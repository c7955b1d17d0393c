"""What a decision costs: the policy's own time in each engine step, beside vLLM's own scheduling of the same batch.

Two parts. Contended: twice the requests that fit, so the policy decides in every step; its time (all that QoEScheduler
adds around vLLM's `schedule()` and `update_from_output()`) over vLLM's time in the same step. Uncontended: the same
requests through stock AsyncScheduler and through ours, in alternation; the ratio of scheduling time alone (of whole
servers: `make bench-uncontended`). In both, an answer ends at its drawn length and another request takes its place.
Times are the thread's CPU time: another process on the machine takes from the caches, not from the clock. The steps of
all rounds count alike.
`make bench-decision`; wants a quiet machine.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import numpy as np
from benchmarks.results_file import write_result
from benchmarks.scheduling.ours import virtual_qoe_scheduler
from benchmarks.scheduling.virtual_time import STOP_TOKEN, TOKEN, VirtualClock, build_scheduler, make_requests
from benchmarks.scheduling.workload import LENGTHS, endless_queue
from numpy.typing import NDArray
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request

from andante.domain.pace import PRESETS
from andante.profiles import load_profiles
from andante_vllm import request_args
from andante_vllm.scheduler import QoEScheduler
from andante_vllm.scheduler_metrics import SchedulerMetrics

PROFILE = "llama-3-70b-4xh100"
WARM_UP_STEPS = 300
"""Until answers end as often as others start."""
STEP_SECONDS = 0.03
BLOCKS_OF_ONE = 21
"""A chat half way through its answer: about 330 tokens in blocks of 16."""
RENEWALS = 8
"""Times the requests that the engine holds are drawn ahead; more than any run uses up."""


class _Stopwatch:
    """Adds up the time inside the functions that it wraps."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def wrap(self, function: Callable[..., Any], *, sign: int = 1) -> Callable[..., Any]:
        """`function` with its time added, or taken away where it runs inside of another that is wrapped."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            started = time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds += sign * (time.thread_time() - started)

        return timed


class _Engine:
    """A scheduler that always holds the same number of requests, driven step by step."""

    def __init__(self, scheduler: Any, clock: VirtualClock, requests: int) -> None:
        self.scheduler = scheduler
        self._clock = clock
        self._requests = requests
        work = endless_queue(requests=requests * RENEWALS, lengths=LENGTHS["chat"], seed=1)
        self._lengths: list[int] = work.output_tokens.tolist()
        self._to_come = iter(make_requests(work, hasher=None))

    def drive(self, steps: int, watch: _Stopwatch | None) -> list[tuple[float, float]]:
        """Per step the seconds in schedule() and update_from_output(), and how much of that was vLLM's own."""
        measured = []
        for _ in range(steps):
            while len(self.scheduler.requests) < self._requests:
                self._arrive(next(self._to_come))
            before = watch.seconds if watch else 0.0
            started = time.thread_time()
            batch = self.scheduler.schedule()
            scheduled = time.thread_time() - started
            output = self._output(batch)
            self._clock.now += STEP_SECONDS
            started = time.thread_time()
            answers = self.scheduler.update_from_output(batch, output)
            whole = scheduled + time.thread_time() - started
            measured.append((whole, (watch.seconds - before) if watch else whole))
            # Or their names would be given to the next step's within the time that counts, and these be freed there.
            del batch, output, answers
        return measured

    def _arrive(self, request: Request) -> None:
        assert request.sampling_params
        assert request.sampling_params.extra_args
        request.arrival_time = self._clock.now
        request.sampling_params.extra_args[request_args.RECEIVED_AT] = self._clock.now
        self.scheduler.add_request(request)

    def _output(self, batch: Any) -> ModelRunnerOutput:
        """A token for everybody whose prefill is complete, the stop token at the answer's end."""
        ids = list(batch.num_scheduled_tokens)
        sampled = []
        for request_id in ids:
            request = self.scheduler.requests[request_id]
            last = request.num_output_tokens + 1 >= self._lengths[int(request_id)]
            sampled.append([] if request.is_prefill_chunk else [STOP_TOKEN if last else TOKEN])
        return ModelRunnerOutput(
            req_ids=ids,
            req_id_to_index={request_id: index for index, request_id in enumerate(ids)},
            sampled_token_ids=sampled,
        )


def contended(requests: int, steps: int, rounds: int) -> dict[str, float]:
    """`requests` in the engine, half of them running because no more fit; the same steps in each of `rounds`."""
    measured, schedulers = zip(*(_contended_round(requests, steps) for _ in range(rounds)), strict=True)
    whole, stock = np.concatenate(measured).T
    own = whole - stock
    scheduler = schedulers[-1]
    return {
        "requests": requests,
        "running": len(scheduler.running),
        "waiting": len(scheduler.waiting),
        "decisions": sum(_decisions(s._metrics) for s in schedulers),
        "own_ms_median": float(np.median(own) * 1e3),
        "own_ms_p99": float(np.percentile(own, 99) * 1e3),
        "stock_ms_median": float(np.median(stock) * 1e3),
        "own_over_stock": float(own.sum() / stock.sum()),
    }


def _decisions(metrics: SchedulerMetrics) -> int:
    metrics.hand_over()
    labels = {"model_name": load_profiles()[PROFILE].model}
    return int(metrics.registry.get_sample_value("andante_scheduler_decisions_total", labels) or 0)


def _contended_round(requests: int, steps: int) -> tuple[NDArray[np.float64], Any]:
    """Per step the seconds of all scheduling, and of vLLM's own; and the scheduler."""
    watch = _Stopwatch()
    with ExitStack() as stack:
        # vLLM calls `_leave` when a request ends, so it is inside of what is vLLM's and yet ours.
        for owner, name, sign in (
            (Scheduler, "schedule", 1), (Scheduler, "update_from_output", 1), (QoEScheduler, "_leave", -1),
        ):  # fmt: skip
            stack.enter_context(patch.object(owner, name, watch.wrap(getattr(owner, name), sign=sign)))
        engine = _build("qoe", requests, kv_blocks=requests // 2 * BLOCKS_OF_ONE)
        engine.drive(WARM_UP_STEPS, watch)
        gc.collect()
        return np.array(engine.drive(steps, watch)), engine.scheduler


def uncontended(requests: int, steps: int, rounds: int) -> float:
    """Stock's seconds over ours for the same uncontended steps, median of paired rounds (1: no slower)."""
    ratios = []
    for _ in range(rounds):
        seconds = {}
        for name in ("stock", "qoe"):
            engine = _build(name, requests, kv_blocks=requests * 3 * BLOCKS_OF_ONE)
            engine.drive(WARM_UP_STEPS, None)
            gc.collect()
            seconds[name] = sum(whole for whole, _ in engine.drive(steps, None))
        ratios.append(seconds["stock"] / seconds["qoe"])
    return float(np.median(ratios))


def _build(name: str, requests: int, *, kv_blocks: int) -> _Engine:
    profile = load_profiles()[PROFILE]
    clock = VirtualClock()
    classes = (PRESETS["reading"],)
    settings: dict[str, Any] = {
        "kv_blocks": kv_blocks, "block_size": 16, "max_num_seqs": max(requests, 8), "max_num_batched_tokens": 8192,
        "prefix_caching": False,
    }  # fmt: skip
    scheduler = build_scheduler(
        AsyncScheduler
        if name == "stock"
        else virtual_qoe_scheduler(policy=name, clock=clock, classes=classes, profile=profile, options={}),
        **settings,
    )
    return _Engine(scheduler, clock, requests)


def main() -> int:
    """Measures, prints and writes benchmarks/results/decision.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    busy = os.getloadavg()[0]
    gc.disable()  # a collection in the middle of a step is nobody's decision
    rows = [contended(count, arguments.steps, arguments.rounds) for count in (64, 256, 1024)]
    for row in rows:
        print(json.dumps(row), flush=True)
    ratio = uncontended(256, arguments.steps, arguments.rounds)
    print(f"uncontended: {ratio:.3f} (stock's scheduling time over ours)")
    largest = rows[-1]
    path = write_result(
        "decision",
        headline={
            "decision_over_stock_1024": round(largest["own_over_stock"], 4),
            "decision_p99_ms_1024": round(largest["own_ms_p99"], 4),
            "uncontended_scheduling_time_ratio": round(ratio, 4),
        },
        settings={"steps": arguments.steps, "rounds": arguments.rounds, "profile": PROFILE, "seed": 1},
        figures={"contended": rows, "load_average_at_start": busy},
        table=(
            ["requests", "running", "own ms (median)", "own ms (p99)", "stock ms (median)", "own / stock"],
            [
                [
                    row["requests"],
                    row["running"],
                    *(f"{row[name]:.3f}" for name in ("own_ms_median", "own_ms_p99", "stock_ms_median")),
                    f"{row['own_over_stock']:.1%}",
                ]
                for row in rows
            ],
        ),
        packages=["vllm", "numpy", "numba"],
    )
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
