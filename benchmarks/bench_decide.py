"""Measures what the scaling law's decisions cost: a tick of 1,000 services, each with its own figures and memory.

    make bench-decide

The figures and memories are those of simulated services: the league's workloads are played with the production law, and
each decision's input is kept. A tick then decides for 1,000 inputs of different times and workloads, each of them from
after the first half hour, when a memory is full. Times are the process's own CPU seconds on one core. What an operator
does around a decision (reading metrics, writing a status) is measured by `make bench-operator`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any
from unittest.mock import patch

import numpy as np
from benchmarks.league.cases import PROFILES, WORKLOADS, Case
from benchmarks.league.runs import run
from benchmarks.results_file import write_result

from andante.app.scaling.judge import decided
from andante.sim.fleet import andante_scaler

SERVICES = 1_000
TICKS = 10
FULL_SECONDS = 1_800.0
"""Seconds after which a memory is as large as it gets in a league's run."""
SCALER = "andante:promise=mean-qoe,asked=0.95"
SEED = 11


def played(workload: str) -> list[dict[str, Any]]:
    """What the law was asked at each tick of one run of the league."""
    asked: list[dict[str, Any]] = []

    def noted(service: Any, **given: Any) -> Any:
        asked.append({"service": service, **given})
        return decided(service, **given)

    with patch.object(andante_scaler, "decided", noted):
        run(Case(scaler=SCALER, workload=workload, profile=PROFILES[workload], seed=SEED))
    return asked


def inputs() -> Iterator[dict[str, Any]]:
    """The inputs of all workloads with full memories, in the order of their times."""
    for workload in WORKLOADS:
        asked = played(workload)
        first = asked[0]["now"]
        late = [given for given in asked if given["now"] - first >= FULL_SECONDS] or asked[-len(asked) // 4 :]
        print(f"{workload}: {len(late)} inputs", flush=True)
        yield from late


def tick(services: list[dict[str, Any]]) -> tuple[float, np.ndarray]:
    """CPU seconds of a tick, and those of each decision."""
    each = np.empty(len(services))
    for place, given in enumerate(services):
        began = time.process_time()
        decided(**given)
        each[place] = time.process_time() - began
    return float(each.sum()), each


def main() -> int:
    """Play, decide, and write benchmarks/results/decide.json and .md."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    found = list(inputs())
    random = np.random.default_rng(SEED)
    ticks = []
    for _ in range(TICKS):
        chosen = random.choice(len(found), SERVICES, replace=len(found) < SERVICES)
        ticks.append(tick([found[place] for place in chosen]))
    seconds = np.array([total for total, _ in ticks])
    each = 1_000 * np.concatenate([times for _, times in ticks])
    headline = {
        "tick_seconds_median": round(float(np.median(seconds)), 3),
        "tick_seconds_max": round(float(seconds.max()), 3),
        "decision_ms_p50": round(float(np.quantile(each, 0.5)), 3),
        "decision_ms_p99": round(float(np.quantile(each, 0.99)), 3),
        "decision_ms_max": round(float(each.max()), 3),
    }
    print(headline)
    settings: Mapping[str, Any] = {
        "services": SERVICES, "ticks": TICKS, "workloads": list(WORKLOADS), "law": SCALER, "seed": SEED,
        "inputs": len(found), "seconds": "CPU seconds of the process, one core",
        "command": "make bench-decide",
    }  # fmt: skip
    rows = [
        ("a tick of 1,000 services, median", f"{headline['tick_seconds_median']:.2f} s"),
        (f"the longest of {TICKS} ticks", f"{headline['tick_seconds_max']:.2f} s"),
        ("a decision, median", f"{headline['decision_ms_p50']:.2f} ms"),
        ("a decision, 99th percentile", f"{headline['decision_ms_p99']:.2f} ms"),
        ("the longest decision", f"{headline['decision_ms_max']:.2f} ms"),
    ]
    print(
        write_result(
            "decide", headline=headline, settings=settings, figures={"tick_seconds": seconds.round(3).tolist()},
            table=(("one core", "CPU time"), rows), packages=("numpy",),
        )
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
