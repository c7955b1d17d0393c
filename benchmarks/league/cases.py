"""What one run of the league is: a law on a half of a workload, with a warm-up, a scheduler and readers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np

from andante.cli.traces import read_trace
from andante.domain.pace import PRESETS
from andante.domain.step_time import LinearStepTime
from andante.profiles import load_profiles
from andante.sim.engine import Engine
from andante.sim.fleet.settings import Cluster, WarmUp
from andante.sim.requests import Requests
from andante.sim.run import Scheduling, simulate
from andante.sim.workloads.arrivals import Traffic
from andante.sim.workloads.catalogue import SHAPES, Half, recorded, shaped

_FOLDER = Path(__file__).resolve().parents[2] / "examples" / "traces"
RECORDINGS: Mapping[str, str] = MappingProxyType(
    {
        "azure-conversation": "azure2023_conv_10min.csv.gz",
        "azure-code": "azure2023_code_10min.csv.gz",
        "mooncake": "mooncake_synthetic_4min.jsonl.gz",
    }
)
WORKLOADS = (*SHAPES, *RECORDINGS)
WARMUPS: Mapping[str, WarmUp] = MappingProxyType(
    {
        "15": WarmUp(median=15.0),
        "100": WarmUp(median=100.0),
        "300": WarmUp(median=300.0),
        "tail": WarmUp(median=110.0, p95=300.0, longest=480.0),
    }
)
JITTER = 3.0
"""Seconds between the copies of a recording's request."""
USUAL_REPLICAS = 4
"""A workload's usual rate is what so many replicas carry."""
MAX_MODEL_LEN = 200_000
LONGEST_PROMPT = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One run, but for the code."""

    scaler: str
    """`static:N`, `hindsight:USE`, `andante`, or the name of a law."""
    settings: tuple[tuple[str, float], ...] = ()
    """The law's settings where they are not its defaults."""
    workload: str = "step"
    half: Half = Half.JUDGING
    warmup: str = "100"
    scheduler: str = "qoe"
    """`qoe`, or `fcfs`: vLLM's own."""
    patience: float | None = None
    """Mean patience of the readers in seconds, exponential; None: they stay."""
    profile: str = "llama-3-8b-1xh100"
    seed: int = 1


def engine_of(case: Case) -> Engine:
    return Engine.of(load_profiles()[case.profile])


def scheduling_of(case: Case) -> Scheduling | None:
    if case.scheduler == "fcfs":
        return None
    return Scheduling(step_time=LinearStepTime.from_profile(load_profiles()[case.profile].coefficients))


def cluster_of(case: Case) -> Cluster:
    return Cluster(warmup=WARMUPS[case.warmup])


@cache
def recording(name: str) -> Traffic:
    """A recording that comes with the repository, from its first request on."""
    requests = read_trace(_FOLDER / RECORDINGS[name])
    arrival = np.array([each.arrival_s for each in requests]) - requests[0].arrival_s
    return Traffic(
        arrival=arrival,
        prompt=np.array([min(each.prompt_tokens, LONGEST_PROMPT) for each in requests]),
        output=np.array([each.output_tokens for each in requests]),
        seconds=math.ceil(float(arrival[-1])),
    )


@cache
def carried(name: str, profile: str) -> float:
    """Requests/s of the recording's lengths that one replica completes under vLLM's FCFS while requests always wait."""
    found = recording(name)
    requests = _requests(found, None, 1)._replace(arrival=np.zeros(found.arrival.size))
    finish = np.sort(simulate(requests, Engine.of(load_profiles()[profile])).finish)
    first, last = finish.size // 6, finish.size * 5 // 6
    return float((last - first) / (finish[last] - finish[first]))


@cache
def traffic_of(workload: str, half: Half, profile: str, seed: int) -> Traffic:
    """Who comes when."""
    if workload in SHAPES:
        lengths = "azure-conversation"
        rate = USUAL_REPLICAS * carried(lengths, profile)
        return shaped(workload, rate=rate, lengths=recording(lengths), half=half, seed=seed)
    found = recording(workload)
    factor = USUAL_REPLICAS * carried(workload, profile) / (found.arrival.size / found.seconds)
    return recorded(found, factor=0.75 * factor, jitter=JITTER, half=half, seed=seed)


def requests_of(case: Case) -> tuple[Requests, float]:
    """The requests of a case, and the seconds in which they come."""
    traffic = traffic_of(case.workload, case.half, case.profile, case.seed)
    return _requests(traffic, case.patience, case.seed), traffic.seconds


def _requests(traffic: Traffic, patience: float | None, seed: int) -> Requests:
    random = np.random.default_rng(seed)
    stays = math.inf if patience is None else random.exponential(patience, traffic.arrival.size)
    return Requests.of(
        arrival=traffic.arrival, prompt_tokens=traffic.prompt, output_tokens=traffic.output,
        classes=(PRESETS["reading"],), class_of=0, most_tokens=MAX_MODEL_LEN, patience=stays,
    )  # fmt: skip
