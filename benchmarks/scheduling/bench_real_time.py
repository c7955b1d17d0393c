"""Does virtual time tell the truth? The same arrivals through the whole server on the virtual GPU, sync and async.

Real time: API server, tokenizer, engine core, scheduler and KV manager of vLLM, an open-loop client, a device that
sleeps as long as the profile says. Writes benchmarks/results/scheduler-real-time.json and .md. `make bench-real-time`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import Any

from benchmarks.results_file import write_result
from benchmarks.scheduling.runs import WITH_HOST
from benchmarks.scheduling.whole_server import engine_config, in_virtual_time, through_the_server, workload
from hack.engine_process import EngineProcess

from andante.cli.bench_scores import summarise

POLICIES = tuple(name + host for name in ("qoe", "andes", "fcfs") for host in (WITH_HOST, ""))


def main() -> int:
    """Runs each point in real time and in virtual time, and writes how far they are apart."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loads", type=float, nargs="+", default=[1.3, 2.0])
    parser.add_argument("--duration", type=float, default=80.0, help="seconds of arrivals")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--policies", nargs="+", default=["qoe"], choices=POLICIES,
        help=f"qoe, fcfs, andes; {WITH_HOST} behind it: KV in host memory too",
    )  # fmt: skip
    parser.add_argument("--kv-offload-gib", type=float, default=60.0, help=f"host memory of {WITH_HOST}, GiB")
    arguments = parser.parse_args()
    rows: list[list[object]] = []
    figures: list[dict[str, Any]] = []
    works = {load: workload(load=load, duration=arguments.duration, seed=arguments.seed) for load in arguments.loads}
    for name in arguments.policies:
        policy = name.removesuffix(WITH_HOST)
        gib = arguments.kv_offload_gib if policy != name else 0.0
        for mode in ("async", "sync"):
            for load, work in works.items():
                config = engine_config(policy, asynchronous=mode == "async", kv_offload_gib=gib)
                with EngineProcess(config) as engine:
                    results = asyncio.run(through_the_server(work, engine))
                real = summarise(results, interval=max(r.arrival + r.lateness + r.duration for r in results))
                virtual = in_virtual_time(work, policy, depth=2 if mode == "async" else 1, kv_offload_gib=gib)
                apart = real["qoe"]["mean"] - virtual.mean_qoe
                late = real["generator_lateness_s"]["p95"]
                figures.append(
                    {"policy": name, "mode": mode, "load": load, "real_mean_qoe": real["qoe"]["mean"],
                     "virtual_mean_qoe": virtual.mean_qoe, "generator_lateness_p95": late, "real": real}
                )  # fmt: skip
                rows.append(
                    [name, mode, load, f"{real['qoe']['mean']:.3f}", f"{virtual.mean_qoe:.3f}", f"{apart:+.3f}",
                     f"{real['throughput_tokens_per_s']:.0f}", f"{virtual.throughput:.0f}", f"{1e3 * late:.0f} ms"]
                )  # fmt: skip
                print(rows[-1], flush=True)
    worst = max(abs(f["real_mean_qoe"] - f["virtual_mean_qoe"]) for f in figures)
    path = write_result(
        "scheduler-real-time",
        headline={"max_abs_mean_qoe_difference": round(worst, 4)},
        settings=vars(arguments),
        figures={"points": figures},
        table=(
            ["policy", "scheduling", "load", "mean QoE, real time", "virtual time", "apart", "tokens/s, real",
             "virtual", "client late (p95)"],
            rows,
        ),
        packages=["vllm", "numpy", "numba"],
    )  # fmt: skip
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
