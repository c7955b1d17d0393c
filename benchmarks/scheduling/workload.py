"""Open-loop workloads for the scheduler benchmarks: who arrives when, with how many tokens, expecting what.

Lengths are log-normal. The log-deviations are those of Azure's 2023 conversation and code traces (Splitwise, ISCA
2024): 0.99 and 0.86 for a conversation's prompt and answer, 1.36 and 0.85 for code. Prompt and answer are drawn
independently; in the traces their logarithms correlate by less than 0.09.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from andante.domain.pace import PRESETS, QoEClass

MAX_MODEL_LEN = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """A log-normal mix of prompt and answer lengths in tokens; means are those after clipping to [4, longest]."""

    name: str
    mean_prompt: float
    mean_output: float
    prompt_deviation: float = 0.99
    output_deviation: float = 0.86
    longest_prompt: int = 2_000
    longest_output: int = 2_000

    def draw(self, count: int, random: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Prompt and answer tokens of `count` requests, shapes (count,)."""
        return (
            _clipped_lognormal(count, self.mean_prompt, self.prompt_deviation, self.longest_prompt, random),
            _clipped_lognormal(count, self.mean_output, self.output_deviation, self.longest_output, random),
        )


LENGTHS: Mapping[str, Lengths] = MappingProxyType(
    {
        lengths.name: lengths
        for lengths in (
            Lengths(name="chat", mean_prompt=230, mean_output=200),
            Lengths(name="conversation", mean_prompt=1155, mean_output=211, longest_prompt=8_000),
            Lengths(
                name="code",
                mean_prompt=2048,
                mean_output=28,
                prompt_deviation=1.36,
                output_deviation=0.85,
                longest_prompt=8_000,
            ),
            Lengths(name="reasoning", mean_prompt=230, mean_output=1000, longest_output=6_000),
        )
    }
)


CHUNK = 512
"""Tokens of the chunks of `Workload.chunks`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Requests in order of arrival; all arrays of shape (requests,)."""

    arrival: NDArray[np.float64]
    """Seconds from the start."""
    prompt_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]
    class_of: NDArray[np.int64]
    """Index into `classes`."""
    classes: tuple[QoEClass, ...]
    duration: float
    """Seconds during which requests arrive."""
    common_prefix: int = 0
    """Tokens with which every prompt begins, the same in all; `prompt_tokens` counts them."""
    follows: NDArray[np.int64] | None = None
    """The request whose prompt and answer each prompt begins with, an earlier one; -1: none."""
    chunks: tuple[tuple[int, ...], ...] | None = None
    """Of each prompt the names of its chunks of `CHUNK` tokens, the last one shorter; equal names are equal tokens."""
    patience: NDArray[np.float64] | None = None
    """Seconds after which each reader leaves, of waiting for the first token or with nothing left to read; None: they
    wait for ever. Batch work has no reader, and its patience is infinite."""
    max_model_len: int = MAX_MODEL_LEN

    @property
    def requests(self) -> int:
        return int(self.arrival.size)


def poisson_workload(
    *,
    rate: float,
    duration: float,
    lengths: Lengths,
    seed: int,
    classes: tuple[QoEClass, ...] = (PRESETS["reading"],),
    shares: tuple[float, ...] = (1.0,),
    surge: tuple[float, float, float] | None = None,
    common_prefix: int = 0,
) -> Workload:
    """Poisson arrivals at `rate` requests/s for `duration` s; `shares` of the classes add up to 1.

    `common_prefix`: tokens, the same in all, before each of the prompts that `lengths` draws.
    `surge`: (start s, length s, factor): the rate is `factor` times as high in that window.
    """
    random = np.random.default_rng(seed)
    peak = rate * max(1.0, surge[2] if surge else 1.0)
    count = random.poisson(peak * duration)
    arrival = np.sort(random.uniform(0.0, duration, count))
    if surge:  # thinning: keep each arrival with the probability of its moment's rate
        start, length, factor = surge
        keep = np.where((arrival >= start) & (arrival < start + length), rate * factor, rate) / peak
        arrival = arrival[random.uniform(size=count) < keep]
    prompt, output = lengths.draw(arrival.size, random)
    return Workload(
        arrival=arrival,
        prompt_tokens=prompt + common_prefix,
        output_tokens=output,
        class_of=random.choice(len(classes), size=arrival.size, p=shares),
        classes=classes,
        duration=duration,
        common_prefix=common_prefix,
    )


def with_patience(workload: Workload, *, mean: float, seed: int) -> Workload:
    """The same requests by readers of exponential patience, `mean` in seconds; batch work waits for ever."""
    patience = np.random.default_rng(1_000 + seed).exponential(mean, workload.requests)
    paced = np.array([c.pace > 0 for c in workload.classes])
    return replace(workload, patience=np.where(paced[workload.class_of], patience, np.inf))


def endless_queue(*, requests: int, lengths: Lengths, seed: int, common_prefix: int = 0) -> Workload:
    """All `requests` at once: what an engine completes of them per second is its capacity."""
    random = np.random.default_rng(seed)
    prompt, output = lengths.draw(requests, random)
    return Workload(
        arrival=np.zeros(requests),
        prompt_tokens=prompt + common_prefix,
        output_tokens=output,
        class_of=np.zeros(requests, dtype=np.int64),
        classes=(PRESETS["reading"],),
        duration=0.0,
        common_prefix=common_prefix,
    )


def _clipped_lognormal(
    count: int, mean: float, deviation: float, longest: int, random: np.random.Generator
) -> NDArray[np.int64]:
    # Clipping takes mass from the tail; the location is moved until the clipped mean is right (bisection).
    sample = np.exp(deviation * np.random.default_rng(0).standard_normal(200_000))
    low, high = mean / 100, mean * 100
    for _ in range(60):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if np.clip(sample * middle, 4, longest).mean() < mean else (low, middle)
    drawn = low * np.exp(deviation * random.standard_normal(count))
    return np.clip(np.rint(drawn), 4, longest).astype(np.int64)
