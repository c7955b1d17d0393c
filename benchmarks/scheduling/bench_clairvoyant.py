"""How far the policy is from a reference that knows every length and preempts for nothing, on the same arrivals.

A second reference preempts for nothing but has to learn the lengths: what it lacks is not the scheduler's to gain.
Uses bench_scheduler's runs (`--run` makes those that are missing). Writes benchmarks/results/scheduler-clairvoyant.json
and .md. `make bench-clairvoyant`.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

import numpy as np
from benchmarks.results_file import write_result
from benchmarks.scheduling.clairvoyant import Clairvoyant
from benchmarks.scheduling.provenance import provenance
from benchmarks.scheduling.runs import ENGINES, HOST_KV_GIB, RunSpec, cached_result, cached_run, capacity_of, classes_of
from benchmarks.scheduling.workload import LENGTHS, poisson_workload

from andante.profiles import load_profiles

PROFILE = "opt-66b-4xa100-estimate"


def main() -> int:
    """Writes the gap at each load."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loads", type=float, nargs="+", default=[1.0, 1.1, 1.2, 1.3, 1.4, 1.5])
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13])
    parser.add_argument("--engine", default="vllm", choices=ENGINES, help="of `qoe`: vLLM's classes, or their model")
    parser.add_argument("--duration", type=float, default=1200.0)
    parser.add_argument(
        "--kv-offload-gib", type=float, default=HOST_KV_GIB, help="of `qoe` with KV in host memory, GiB"
    )
    parser.add_argument("--run", action="store_true", help="run what bench_scheduler has not run yet")
    arguments = parser.parse_args()
    rows: list[list[object]] = []
    figures = []
    for load in arguments.loads:
        known = []
        for seed in arguments.seeds:
            spec = RunSpec(
                scheduler="qoe", load=load, seed=seed, duration=arguments.duration, engine=arguments.engine
            )  # fmt: skip
            with_host = replace(spec, kv_offload_gib=arguments.kv_offload_gib)
            run = cached_run if arguments.run else cached_result
            result, host_result = run(spec), run(with_host)
            if result is None or host_result is None:
                continue
            classes, shares = classes_of(spec)
            work = poisson_workload(
                rate=load * capacity_of(spec), duration=arguments.duration, lengths=LENGTHS["chat"], seed=seed,
                classes=classes, shares=shares,
            )  # fmt: skip
            profile = load_profiles()[PROFILE]
            known.append(
                {
                    "load": load,
                    "seed": seed,
                    "qoe": result["scores"]["mean_qoe"],
                    "qoe_host": host_result["scores"]["mean_qoe"],
                    "lengths_learned": Clairvoyant(work, profile, lengths_known=False).run()["mean_qoe"],
                    "clairvoyant": Clairvoyant(work, profile).run()["mean_qoe"],
                }
            )
        figures.extend(known)
        if known:
            names = ("qoe", "qoe_host", "lengths_learned", "clairvoyant")
            means = [float(np.mean([f[name] for f in known])) for name in names]
            gaps = [f"{means[-1] - mean:.4f}" for mean in means[:2]]
            rows.append([load, *(f"{mean:.4f}" for mean in means), *gaps, len(known)])
            print(rows[-1], flush=True)
    if not rows:
        print("no run of `qoe` is cached: make bench-scheduler first, or --run", file=sys.stderr)
        return 1
    print(
        write_result(
            "scheduler-clairvoyant",
            headline={f"gap_at_load_{row[0]}": float(str(row[5])) for row in rows}
            | {f"gap_with_host_kv_at_load_{row[0]}": float(str(row[6])) for row in rows},
            settings={
                **vars(arguments),
                **provenance("bench-clairvoyant", seeds=arguments.seeds, profiles=[PROFILE], lengths=["chat"]),
            },
            figures={"points": figures},
            table=(
                [
                    "load",
                    "qoe",
                    "qoe, KV in host memory",
                    "lengths learned, free preemption",
                    "clairvoyant, free preemption",
                    "gap",
                    "gap, KV in host memory",
                    "seeds",
                ],
                rows,
            ),
            packages=["vllm", "numpy", "numba"],
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
