"""Speculative decoding: `qoe` against stock FCFS at its best, on a small engine in virtual time.

Load 1.0 is the rate that FCFS completes of an endless queue with the same draft tokens. The runner is asked for every
draft token, each of which holds with the same probability if those before it did. Writes
benchmarks/results/scheduler-speculative.json and .md. `make bench-speculative`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from benchmarks.results_file import write_result
from benchmarks.scheduling.checks import worse
from benchmarks.scheduling.schedulers import make_scheduler
from benchmarks.scheduling.scoring import Scores, score_run
from benchmarks.scheduling.stock import BEST, DEFAULT
from benchmarks.scheduling.virtual_time import Run, VirtualClock, run_workload
from benchmarks.scheduling.whole_server import CAPACITY_REQUESTS, small_profile
from benchmarks.scheduling.workload import LENGTHS, Workload, endless_queue, poisson_workload

from andante.domain.pace import PRESETS
from andante_vllm.virtual_drafts import VirtualDrafts

TOKENS = 3


def capacity(work: Workload, drafts: VirtualDrafts) -> float:
    """Requests/s that FCFS completes of the endless queue `work`."""
    first, last = work.requests // 6, work.requests * 5 // 6
    ended: list[float] = []
    clock = VirtualClock()

    def enough(completed: int) -> bool:
        ended.extend([clock.now] * (completed - len(ended)))
        return completed > last

    _run(work, "fcfs", drafts, clock=clock, until=enough)
    return (last - first) / (ended[last] - ended[first])


def served(work: Workload, name: str, drafts: VirtualDrafts) -> Scores:
    """The scores of `work`."""
    return score_run(work, _run(work, name, drafts, clock=VirtualClock()))


def _run(work: Workload, name: str, drafts: VirtualDrafts, *, clock: VirtualClock, **options: Any) -> Run:
    profile = small_profile()
    scheduler = make_scheduler(
        name, profile=profile, clock=clock, classes=work.classes, draft_tokens=TOKENS,
        stock=BEST if name == "fcfs" else DEFAULT,
    )  # fmt: skip
    return run_workload(work, scheduler=scheduler, clock=clock, profile=profile, drafts=drafts, **options)


def write(settings: Mapping[str, Any], points: Sequence[Mapping[str, Any]]) -> int:
    """Writes the result of so many points; how many of them are worse than FCFS's."""
    rows: list[list[object]] = []
    for point in points:
        stock, ours = point["fcfs"], point["qoe"]
        row: list[object] = [point["acceptance"], f"{point['tokens_per_step']:.2f}", point["pace"], point["load"]]
        row += [f"{scores['mean_qoe']:.4f}" for scores in (stock, ours)]
        row += [f"{scores[name]:.0f}" for name in ("smooth_goodput", "throughput_to_95") for scores in (stock, ours)]
        rows.append([*row, ", ".join(point["worse"]) or "nothing"])
    below = sum(bool(point["worse"]) for point in points)
    write_result(
        "scheduler-speculative",
        headline={"points_below_fcfs": below, "points": len(points)},
        settings={**settings, "draft_tokens": TOKENS, "fcfs_flags": asdict(BEST)},
        figures={"points": points},
        table=(
            ["acceptance", "tokens a step", "pace", "load", "mean QoE FCFS", "qoe", "smooth goodput FCFS", "qoe",
             "tokens/s to 95 % FCFS", "qoe", "qoe is worse in"],
            rows,
        ),
        packages=["vllm", "numpy", "numba"],
    )  # fmt: skip
    print(rows[-1], flush=True)
    return below


def main() -> int:
    """Runs all, and writes after each pair; 1 if `qoe` is below FCFS anywhere."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loads", type=float, nargs="+", default=[0.8, 1.2])
    parser.add_argument("--paces", type=float, nargs="+", default=[4.8, 12.0])
    parser.add_argument("--acceptances", type=float, nargs="+", default=[0.4, 0.8])
    parser.add_argument("--duration", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    points: list[dict[str, Any]] = []
    lengths, below = LENGTHS["chat"], 0
    for acceptance in arguments.acceptances:
        drafts = VirtualDrafts(acceptance=acceptance)
        full = capacity(endless_queue(requests=CAPACITY_REQUESTS, lengths=lengths, seed=12345), drafts)
        for pace in arguments.paces:
            readers = (replace(PRESETS["reading"], pace=pace),)
            for load in arguments.loads:
                work = poisson_workload(
                    rate=load * full, duration=arguments.duration, lengths=lengths, seed=arguments.seed,
                    classes=readers,
                )  # fmt: skip
                stock, ours = (asdict(served(work, name, drafts)) for name in ("fcfs", "qoe"))
                tokens = 1 + sum(acceptance**place for place in range(1, TOKENS + 1))
                point = {"acceptance": acceptance, "pace": pace, "load": load, "tokens_per_step": round(tokens, 3)}
                points.append({**point, "fcfs": stock, "qoe": ours, "worse": worse(ours, stock)})
                below = write(vars(arguments), points)
    return 1 if below else 0


if __name__ == "__main__":
    sys.exit(main())
