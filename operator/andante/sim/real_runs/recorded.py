"""Predicts a recorded run of a real engine: the same requests at the same times, on a simulated replica.

`andante profile fit` and `andante simulate --setup` use it; `andante.cli.recorded_runs` reads such runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from andante.domain.compiled import Bools, Floats, Ints
from andante.domain.pace import PRESETS
from andante.domain.step_time import Profile
from andante.sim.engine import Engine
from andante.sim.requests import NO_SOURCE, Requests
from andante.sim.run import simulate


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """What a recorded engine was started with."""

    max_seqs: int
    max_step_tokens: int
    max_model_len: int
    block_size: int
    blocks: int | None
    """KV blocks for requests; None: not recorded, more than the run ever needs."""
    steps_in_flight: int
    reserve_whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRun:
    """Requests that were served one beside the other, in order of arrival; arrays of shape (requests,).

    Times are seconds since the run's start. They are NaN where they are not known, or must not be used.
    """

    name: str
    ids: tuple[str, ...]
    arrival: Floats
    prompt: Ints
    output: Ints
    blocks: tuple[Sequence[object], ...]
    """Of each prompt the ids of its full KV blocks; equal ids: the same tokens after the same tokens."""
    first: Floats
    """When the first token came."""
    last: Floats
    queued: Floats
    """When the engine put the request into its queue, where that was recorded."""
    outside: Floats
    """Seconds of the first token's way outside the engine, before and behind, where the engine's part was recorded."""

    @property
    def fit(self) -> Bools:
        """Requests whose times may be used."""
        return np.isfinite(self.first)


class Latencies(NamedTuple):
    """TTFT, TPOT (NaN for one token) and end-to-end latency of requests, seconds; arrays of shape (requests,)."""

    ttft: Floats
    tpot: Floats
    e2e: Floats

    @classmethod
    def of(cls, *, arrival: Floats, first: Floats, last: Floats, output: Ints) -> Latencies:
        """From times on one clock."""
        gaps = np.where(output > 1, output - 1.0, np.nan)
        return cls(first - arrival, (last - first) / gaps, last - arrival)

    def where(self, chosen: Bools) -> Latencies:
        """Of the chosen requests."""
        return Latencies(*(values[chosen] for values in self))


def workload(run: RecordedRun, settings: EngineSettings) -> Requests:
    """The run's requests as the simulator takes them; each begins like the earlier request that shares most with it."""
    holders: dict[object, int] = {}
    source = np.full(run.arrival.size, NO_SOURCE)
    shared = np.zeros(run.arrival.size, dtype=np.int64)
    for request, ids in enumerate(run.blocks):
        for place in range(len(ids), 0, -1):
            holder = holders.get(ids[place - 1])
            if holder is not None:
                source[request], shared[request] = holder, place * settings.block_size
                break
        for block in ids:
            holders.setdefault(block, request)
    longest = max(settings.max_model_len, int((run.prompt + run.output).max(initial=0)))
    return Requests.of(
        arrival=run.arrival, prompt_tokens=run.prompt, output_tokens=run.output, classes=(PRESETS["batch"],),
        class_of=0, most_tokens=longest, source=source, shared=shared,
    )  # fmt: skip


def replica(settings: EngineSettings, profile: Profile, requests: Requests) -> Engine:
    """A replica with the run's settings and the profile's times."""
    engine = Engine.of(profile, steps_in_flight=settings.steps_in_flight, reserve_whole=settings.reserve_whole)
    enough = int((-(-(requests.prompt + requests.output) // settings.block_size)).sum())
    return engine._replace(
        blocks=max(enough, 1) if settings.blocks is None else settings.blocks,
        block_size=settings.block_size,
        max_seqs=settings.max_seqs,
        max_step_tokens=settings.max_step_tokens,
    )


def predict(requests: Requests, engine: Engine) -> tuple[Floats, Floats]:
    """When the first and the last token of each request come, seconds since the run's start.

    Raises ValueError for a request that the KV cache cannot hold.
    """
    outcome = simulate(requests, engine)
    return requests.arrival + outcome.first_token, requests.arrival + outcome.last_token
