"""Replays of recorded traffic: each request with its own lengths, times and, where the trace has it, shared prefixes.

Only the clock is changed: all gaps between arrivals are longer or shorter by one factor, so that the mean rate is the
one wanted. `examples/traces/README.md` says whose the traces are.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from benchmarks.scheduling.workload import Workload

from andante.cli.traces import read_trace
from andante.domain.pace import PRESETS, QoEClass

_FOLDER = Path(__file__).resolve().parents[2] / "examples" / "traces"
TRACES: Mapping[str, str] = MappingProxyType(
    {
        "azure-conversation": "azure2023_conv_10min.csv.gz",
        "azure-code": "azure2023_code_10min.csv.gz",
        "mooncake": "mooncake_synthetic_4min.jsonl.gz",
    }
)
"""The file of each trace."""
MAX_MODEL_LEN = 200_000
"""Tokens: mooncake's longest prompt has 191,000."""


class _Trace(NamedTuple):
    arrival: tuple[float, ...]
    prompt: tuple[int, ...]
    output: tuple[int, ...]
    chunks: tuple[tuple[int, ...], ...] | None


@cache
def _read(name: str) -> _Trace:
    path = _FOLDER / TRACES[name]
    requests = read_trace(path)
    chunks = None
    if path.name.endswith(".jsonl.gz"):
        lines = gzip.decompress(path.read_bytes()).decode().splitlines()
        chunks = tuple(tuple(json.loads(line)["hash_ids"]) for line in lines)
    start = requests[0].arrival_s
    return _Trace(
        tuple(r.arrival_s - start for r in requests),
        tuple(r.prompt_tokens for r in requests),
        tuple(r.output_tokens for r in requests),
        chunks,
    )


def replay(name: str, *, rate: float, qoe_class: QoEClass) -> Workload:
    """The requests of trace `name` at a mean of `rate` requests/s. Raises KeyError for an unknown name."""
    trace = _read(name)
    duration = len(trace.arrival) / rate
    return _workload(trace, np.asarray(trace.arrival) * (duration / trace.arrival[-1]), qoe_class, duration)


def replay_queue(name: str) -> Workload:
    """All requests of trace `name` at once, in their order."""
    trace = _read(name)
    return _workload(trace, np.zeros(len(trace.arrival)), PRESETS["reading"], 0.0)


def _workload(trace: _Trace, arrival: np.ndarray, qoe_class: QoEClass, duration: float) -> Workload:
    return Workload(
        arrival=arrival,
        prompt_tokens=np.asarray(trace.prompt, dtype=np.int64),
        output_tokens=np.asarray(trace.output, dtype=np.int64),
        class_of=np.zeros(len(trace.prompt), dtype=np.int64),
        classes=(qoe_class,),
        duration=duration,
        chunks=trace.chunks,
        max_model_len=MAX_MODEL_LEN,
    )
