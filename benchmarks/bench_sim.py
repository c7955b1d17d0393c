"""Measures what the simulator costs: a replica-hour alone and under overload, a day of a fleet, and memory over length.

    make bench-sim

All figures are the process's own CPU seconds on one core, so that other work on the machine disturbs them little, and
without compilation. Each measurement is a process of its own; memory is its largest resident size.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from benchmarks.middle_rate import middle_rate
from benchmarks.results_file import write_result
from benchmarks.scheduling.stock import BEST, engine_with
from benchmarks.scheduling.workload import LENGTHS, MAX_MODEL_LEN

from andante.domain.pace import PRESETS
from andante.domain.step_time import LinearStepTime
from andante.profiles import load_profiles
from andante.sim.engine import Engine
from andante.sim.fleet.run import run_fleet
from andante.sim.fleet.scaler import Static
from andante.sim.requests import Requests
from andante.sim.run import Scheduling, simulate

PROFILE = "llama-3-8b-1xh100"
RATE = 5.0
"""Requests per second and replica of the replica-hour and of the fleet: nothing is short."""
OVERLOAD = 1.3
REPLICAS = 20
HOUR, DAY = 3600.0, 86_400.0


def workload(rate: float, seconds: float, seed: int = 1) -> Requests:
    """Poisson arrivals with conversation lengths, readers who stay."""
    random = np.random.default_rng(seed)
    arrival = np.sort(random.uniform(0.0, seconds, random.poisson(rate * seconds)))
    prompt, output = LENGTHS["conversation"].draw(arrival.size, random)
    return Requests.of(
        arrival=arrival, prompt_tokens=prompt, output_tokens=output, classes=(PRESETS["reading"],), class_of=0,
        most_tokens=MAX_MODEL_LEN,
    )  # fmt: skip


def engine() -> Engine:
    """The replica with vLLM's flags at their best, as in the scheduler's benchmarks."""
    return engine_with(load_profiles()[PROFILE], BEST)


def ours() -> Scheduling:
    return Scheduling(step_time=LinearStepTime.from_profile(load_profiles()[PROFILE].coefficients))


def capacity() -> float:
    """Load 1.0: requests per second that vLLM's FCFS completes while requests always wait."""
    burst = workload(1_000.0, 2.0)
    return middle_rate(simulate(burst._replace(arrival=np.zeros(burst.arrival.size)), engine()).finish)


def replica_hour() -> dict[str, float]:
    requests = workload(RATE, HOUR)
    return timed(lambda: simulate(requests, engine()).steps, requests)


def replica_hour_contended() -> dict[str, float]:
    rate = OVERLOAD * capacity()
    requests = workload(rate, HOUR)
    return {"requests_per_second": rate, **timed(lambda: simulate(requests, engine(), ours()).steps, requests)}


def fleet_day() -> dict[str, float]:
    return fleet(REPLICAS, DAY)


def fleet_hours_1() -> dict[str, float]:
    return fleet(4, HOUR)


def fleet_hours_10() -> dict[str, float]:
    return fleet(4, 10 * HOUR)


def fleet(replicas: int, seconds: float) -> dict[str, float]:
    """A static fleet with the QoE scheduler; the longest part of a run is its replicas' steps."""
    requests = workload(RATE * replicas, seconds)

    def run() -> int:
        outcome = run_fleet(requests, engine(), Static(replicas), start=replicas, scheduling=ours(), end=seconds)
        return outcome.steps

    return timed(run, requests)


def timed(run: Callable[[], int], requests: Requests) -> dict[str, float]:
    """CPU seconds, steps and requests of `run`."""
    began = time.process_time()
    steps = run()
    return {"seconds": time.process_time() - began, "steps": steps, "requests": requests.arrival.size}


PARTS: Mapping[str, Callable[[], dict[str, float]]] = {
    run.__name__: run for run in (replica_hour, replica_hour_contended, fleet_hours_1, fleet_hours_10, fleet_day)
}


def measured(part: str) -> dict[str, float]:
    """`part` in a process of its own, with its largest resident size."""
    command = [sys.executable, "-m", "benchmarks.bench_sim", "--part", part]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[str, float] = json.loads(answer.splitlines()[-1])
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--part", choices=PARTS)
    arguments.add_argument("--without", nargs="*", default=[], choices=PARTS)
    chosen = arguments.parse_args()
    if chosen.part:
        simulate(workload(1.0, 10.0), engine(), ours())  # compiled code is loaded before the clock starts
        found = PARTS[chosen.part]()
        found["rss_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(found))
        return
    figures: dict[str, Any] = {}
    for part in PARTS:
        if part not in chosen.without:
            figures[part] = {name: round(value, 3) for name, value in measured(part).items()}
            print(part, figures[part], flush=True)
    headline = headline_of(figures)
    settings = {
        "profile": PROFILE, "lengths": "conversation", "requests_per_second_and_replica": RATE, "overload": OVERLOAD,
        "replicas_of_the_day": REPLICAS, "seconds": "CPU seconds of the process, one core, compiled before",
        "command": "make bench-sim",
    }  # fmt: skip
    rows = [
        (NAMES[part], int(found["requests"]), int(found["steps"]), f"{found['seconds']:.2f}", f"{found['rss_mib']:.0f}")
        for part, found in figures.items()
    ]
    columns = ("run", "requests", "engine steps", "CPU s", "largest memory, MiB")
    path = write_result(
        "sim", headline=headline, settings=settings, figures=figures, table=(columns, rows), packages=("numpy", "numba")
    )
    print(path)


def headline_of(figures: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """What the parts say that were measured."""
    headline = {name: figures[part]["seconds"] for name, part in _SECONDS.items() if part in figures}
    if {"fleet_hours_1", "fleet_hours_10"} <= figures.keys():
        one, ten = figures["fleet_hours_1"], figures["fleet_hours_10"]
        headline["rss_mib_10x_over_1x"] = round(ten["rss_mib"] / one["rss_mib"], 3)
        headline["seconds_per_request_10x_over_1x"] = round(per_request(ten) / per_request(one), 3)
    return headline


def per_request(found: Mapping[str, float]) -> float:
    return found["seconds"] / found["requests"]


_SECONDS = {
    "replica_hour_seconds": "replica_hour",
    "replica_hour_seconds_contended": "replica_hour_contended",
    "fleet_day_seconds": "fleet_day",
}
NAMES = {
    "replica_hour": f"one replica, an hour at {RATE:g} requests/s, vLLM's own scheduling",
    "replica_hour_contended": f"one replica, an hour at load {OVERLOAD:g}, the QoE scheduler",
    "fleet_hours_1": f"4 replicas, an hour at {RATE:g} requests/s each, the QoE scheduler",
    "fleet_hours_10": "the same for ten hours",
    "fleet_day": f"{REPLICAS} replicas, a day at {RATE:g} requests/s each, the QoE scheduler",
}

if __name__ == "__main__":
    main()
