"""The league's workloads, each in a half for tuning and a half for judging that share no request and no moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from types import MappingProxyType
from zlib import crc32

import numpy as np

from andante.sim.workloads.arrivals import Traffic, by_rate, crowded
from andante.sim.workloads.rates import Rate, constant, flash_crowd, noisy, series, step

HOUR = 3600.0


class Half(StrEnum):
    """What a workload is for."""

    TUNING = "tuning"
    JUDGING = "judging"


def half_of(recording: Traffic, half: Half) -> Traffic:
    """The first half of a recording for tuning, the second for judging."""
    middle = recording.seconds / 2
    return recording.part(0.0, middle) if half is Half.TUNING else recording.part(middle, recording.seconds)


Shape = Callable[[float, Half, np.random.Generator], Rate]
"""The rate of a workload whose usual rate is the first argument."""


def _constant(rate: float, half: Half, random: np.random.Generator) -> Rate:
    del half, random
    return constant(0.9 * rate)


def _step(rate: float, half: Half, random: np.random.Generator) -> Rate:
    del random
    begins, ends = (900.0, 2300.0) if half is Half.TUNING else (1500.0, 2700.0)
    return step(0.4 * rate, begins=begins, ends=ends, factor=3.0)


def _flash_crowd(rate: float, half: Half, random: np.random.Generator) -> Rate:
    del random
    begins, factor = (1200.0, 4.0) if half is Half.TUNING else (1900.0, 5.0)
    return flash_crowd(0.4 * rate, begins=begins, factor=factor)


def _day(rate: float, half: Half, random: np.random.Generator) -> Rate:
    """A day's two humps within an hour, with noise; the second half's day is later and flatter."""
    hours = np.linspace(0.0, 24.0, 145)
    shift, depth = (0.0, 0.6) if half is Half.TUNING else (3.0, 0.45)
    humps = np.cos((hours - 14.0 - shift) / 12 * np.pi) + 0.35 * np.cos((hours - 10.0 - shift) / 6 * np.pi)
    rates = 0.75 * rate * (1 + depth * humps)
    return noisy(series(np.maximum(rates, 0.05 * rate), seconds=HOUR), seconds=HOUR, deviation=0.15, memory=60.0,
                 random=random)  # fmt: skip


SHAPES: Mapping[str, Shape] = MappingProxyType(
    {"constant": _constant, "step": _step, "flash-crowd": _flash_crowd, "day": _day}
)


def shaped(name: str, *, rate: float, lengths: Traffic, half: Half, seed: int) -> Traffic:
    """The workload of one of SHAPES for an hour. `rate`: what four replicas can carry, requests/s; `lengths`: a
    recording from whose half prompts and answers are drawn."""
    random = np.random.default_rng([seed, crc32(f"{name}/{half}".encode())])
    made = SHAPES[name](rate, half, random)
    return by_rate(made, seconds=HOUR, lengths=half_of(lengths, half), random=random)


def recorded(recording: Traffic, *, factor: float, jitter: float, half: Half, seed: int) -> Traffic:
    """Half of a recording with `factor` times as many readers."""
    random = np.random.default_rng([seed, crc32(half.encode())])
    return crowded(half_of(recording, half), factor, jitter=jitter, random=random)
