"""Draws who arrives when: by a rate, or as a recording with more or fewer readers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from andante.domain.compiled import Floats, Ints
from andante.sim.workloads.rates import Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Requests in the order of arrival; arrays of shape (requests,)."""

    arrival: Floats
    """Seconds from the start."""
    prompt: Ints
    output: Ints
    seconds: float
    """Length of the whole."""

    def part(self, begins: float, ends: float) -> Self:
        """What arrives from `begins` until `ends`, seconds; the times begin at 0."""
        which = (self.arrival >= begins) & (self.arrival < ends)
        return type(self)(
            arrival=self.arrival[which] - begins,
            prompt=self.prompt[which],
            output=self.output[which],
            seconds=ends - begins,
        )


def by_rate(rate: Rate, *, seconds: float, lengths: Traffic, random: np.random.Generator) -> Traffic:
    """Poisson arrivals at `rate`, each with prompt and answer of a request of `lengths` drawn at random."""
    begins = np.arange(0.0, seconds)
    arrival = np.repeat(begins, random.poisson(np.maximum(rate(begins), 0.0)))
    arrival = np.sort(arrival + random.random(arrival.size))
    arrival = arrival[arrival < seconds]
    which = random.integers(0, lengths.arrival.size, arrival.size)
    return Traffic(arrival=arrival, prompt=lengths.prompt[which], output=lengths.output[which], seconds=seconds)


def crowded(recording: Traffic, factor: float, *, jitter: float, random: np.random.Generator) -> Traffic:
    """`recording` with `factor` times as many readers: each request comes so many times, up to `jitter` s apart.

    The whole part of `factor` counts for all requests, its fraction for a random share of them. Bursts stay bursts, as
    one burst of the recording becomes one of more readers.
    """
    count = recording.arrival.size
    whole = int(factor)
    parts = [np.arange(count)] * whole + [np.flatnonzero(random.random(count) < factor - whole)]
    which = np.concatenate(parts)
    arrival = np.abs(recording.arrival[which] + random.uniform(-jitter, jitter, which.size))
    order = np.argsort(arrival, kind="stable")
    order = order[arrival[order] < recording.seconds]
    which = which[order]
    return Traffic(
        arrival=arrival[order],
        prompt=recording.prompt[which],
        output=recording.output[which],
        seconds=recording.seconds,
    )
