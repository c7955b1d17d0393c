"""What one run of the league is: a law on a half of a workload, with a warm-up, a scheduler and readers."""

from __future__ import annotations

import gzip
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from zlib import crc32

import numpy as np
from benchmarks.middle_rate import middle_rate
from benchmarks.scheduling.stock import BEST, engine_with

from andante.domain.pace import PRESETS, QoEClass
from andante.profiles import load_profiles
from andante.sim.engine import Engine
from andante.sim.fleet.settings import Cluster, WarmUp
from andante.sim.requests import Requests
from andante.sim.run import Scheduling, simulate
from andante.sim.workloads.arrivals import Traffic, by_rate
from andante.sim.workloads.catalogue import Half, half_of, recorded, shaped
from andante.sim.workloads.rates import series

TRACES = Path(__file__).resolve().parent / "traces"
RECORDINGS: Mapping[str, str] = MappingProxyType(
    {
        "azure-conversation": "azure2023_conv.csv.gz",
        "azure-code": "azure2023_code.csv.gz",
        "mooncake": "mooncake.csv.gz",
    }
)
WEEK = "azure-week"
_WEEK_RATES = "azure2024_week_rate.csv.gz"
WEEK_SECONDS = 3600.0
"""Half a week in so many seconds: a day in 17 minutes."""
REPEATED: Mapping[str, int] = MappingProxyType({"mooncake": 3, "azure-code": 2, "azure-conversation": 2})
"""A recording is played so often, end to end, the same each time: in half an hour a law that learns from the last hour
would be judged on its first steps alone. Mooncake's fills 26 minutes."""
WORKLOADS = ("flash-crowd", "azure-code", WEEK, "azure-conversation", "step", "mooncake")
"""The most telling first."""
LARGE_MODEL, MIDDLE_MODEL, SMALL_MODEL = "llama-3-70b-4xa100", "qwen3-32b-2xh100", "llama-3-8b-1xh100"
PROFILES: Mapping[str, str] = MappingProxyType(
    dict.fromkeys(WORKLOADS, LARGE_MODEL) | {"azure-code": MIDDLE_MODEL, "mooncake": SMALL_MODEL}
)
"""The replica of each workload. The large model takes so long for the prompts of these two that a fixed fleet needs six
times the mean work on code, and no fleet keeps the promise on Mooncake: the league would measure little there."""
CLASSES: Mapping[str, QoEClass] = MappingProxyType(
    dict.fromkeys(WORKLOADS, PRESETS["reading"]) | {"mooncake": replace(PRESETS["reading"], expected_ttft=3.0)}
)
"""What readers expect. A prompt of Mooncake's has up to 60,000 tokens: an idle engine needs two seconds for it."""
WARMUPS: Mapping[str, WarmUp] = MappingProxyType(
    {"15": WarmUp(median=15.0), "100": WarmUp(median=100.0), "300": WarmUp(median=300.0)}
)
SCHEDULERS = ("qoe", "stock")
JITTER = 15.0
"""Seconds between the copies of a recording's request: other users, whose bursts are not the same to the second."""
USUAL_REPLICAS = 4
"""A shape's usual rate is what so many replicas carry."""
MEAN_REPLICAS = 3.0
"""A recording has as many readers as so many replicas carry on average, and its peaks are higher."""
MAX_MODEL_LEN = 200_000
LONGEST_PROMPT = 60_000
_QUEUE = 3_000
"""Requests of a recording that say what one replica carries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One run, but for the code."""

    scaler: str
    """What `scalers.scaler_of` builds: a law of the registry with its settings, or one of the league's own."""
    workload: str = "step"
    half: Half = Half.JUDGING
    warmup: str = "100"
    scheduler: str = "qoe"
    """`qoe`, or `stock`: vLLM's own. Both with the flags that serve readers best (`benchmarks.scheduling.stock`)."""
    patience: float | None = None
    """Mean patience of the readers in seconds, exponential; None: they stay."""
    profile: str = LARGE_MODEL
    seed: int = 1


@cache
def engine_of(profile: str) -> Engine:
    return engine_with(load_profiles()[profile], BEST)


def scheduling_of(case: Case) -> Scheduling | None:
    """As engines on GPUs have it: the fit of the step time starts without the profile in every replica.

    Raises ValueError for a scheduler that is not known."""
    if case.scheduler not in SCHEDULERS:
        raise ValueError(f"no scheduler {case.scheduler!r}; there are {', '.join(SCHEDULERS)}")
    return None if case.scheduler == "stock" else Scheduling()


def cluster_of(case: Case) -> Cluster:
    return Cluster(warmup=WARMUPS[case.warmup])


@cache
def recording(name: str) -> Traffic:
    """A recording that comes with the repository, from its first request on."""
    arrival, prompt, output = _columns(RECORDINGS[name])
    return Traffic(
        arrival=np.ascontiguousarray(arrival - arrival[0]),
        prompt=np.minimum(prompt.astype(np.int64), LONGEST_PROMPT),
        output=output.astype(np.int64),
        seconds=math.ceil(float(arrival[-1] - arrival[0])),
    )


@cache
def carried(name: str, profile: str) -> float:
    """Requests/s of the recording's lengths that one replica completes under vLLM's FCFS while requests always wait."""
    found = recording(name)
    queue = found.part(0.0, float(np.append(found.arrival, math.inf)[min(_QUEUE, found.arrival.size)]))
    requests = _requests(queue, None, 1, CLASSES[name])._replace(arrival=np.zeros(queue.arrival.size))
    return middle_rate(simulate(requests, engine_of(profile)).finish)


@cache
def traffic_of(workload: str, half: Half, profile: str, seed: int) -> Traffic:
    """Who comes when."""
    if workload in RECORDINGS:
        found = recording(workload)
        factor = MEAN_REPLICAS * carried(workload, profile) / (found.arrival.size / found.seconds)
        part = recorded(found, factor=factor, jitter=JITTER, half=half, seed=seed)
        return _end_to_end(part, REPEATED.get(workload, 1))
    lengths = recording("azure-conversation")
    usual = USUAL_REPLICAS * carried("azure-conversation", profile)
    if workload == WEEK:
        random = np.random.default_rng([seed, crc32(f"{workload}/{half}".encode())])
        rates = _half_week(half)
        rate = series(rates * (MEAN_REPLICAS / USUAL_REPLICAS * usual / rates.mean()), seconds=WEEK_SECONDS)
        return by_rate(rate, seconds=WEEK_SECONDS, lengths=half_of(lengths, half), random=random)
    return shaped(workload, rate=usual, lengths=lengths, half=half, seed=seed)


def _half_week(half: Half) -> np.ndarray:
    """Conversations per second of one half of Azure's week."""
    _, _, conversations = _columns(_WEEK_RATES)
    return np.split(conversations, 2)[0 if half is Half.TUNING else 1]


def _columns(file: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The three columns of a file of `TRACES`."""
    with gzip.open(TRACES / file, "rt") as lines:
        first, second, third = np.loadtxt(lines, delimiter=",", skiprows=1, unpack=True)
    return first, second, third


def _end_to_end(traffic: Traffic, times: int) -> Traffic:
    return Traffic(
        arrival=np.concatenate([traffic.arrival + again * traffic.seconds for again in range(times)]),
        prompt=np.tile(traffic.prompt, times),
        output=np.tile(traffic.output, times),
        seconds=traffic.seconds * times,
    )


def requests_of(case: Case) -> tuple[Requests, float]:
    """The requests of a case, and the seconds in which they come."""
    traffic = traffic_of(case.workload, case.half, case.profile, case.seed)
    return _requests(traffic, case.patience, case.seed, CLASSES[case.workload]), traffic.seconds


def _requests(traffic: Traffic, patience: float | None, seed: int, of: QoEClass) -> Requests:
    random = np.random.default_rng(seed)
    stays = math.inf if patience is None else random.exponential(patience, traffic.arrival.size)
    return Requests.of(
        arrival=traffic.arrival, prompt_tokens=traffic.prompt, output_tokens=traffic.output,
        classes=(of,), class_of=0, most_tokens=MAX_MODEL_LEN, patience=stays,
    )  # fmt: skip
