"""Defines what a fleet's cluster does: how long replicas take to start, what fails, and how requests get to them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from andante.sim.fleet.compiled.routing import Router

_P95 = 1.6449
"""The 95th percentile of the standard normal distribution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmUp:
    """Seconds from a pod's place on a node until it is ready: a logarithmic normal distribution, cut at its end."""

    median: float
    p95: float | None = None
    """None: always the median."""
    longest: float = math.inf
    never: float = 0.0
    """Share of pods that never get ready."""

    def __post_init__(self) -> None:
        if not 0 < self.median <= (self.median if self.p95 is None else self.p95) < math.inf:
            raise ValueError(f"median and p95 must be finite seconds > 0 in this order, got {self.median}, {self.p95}")
        if not self.longest >= self.median:
            raise ValueError(f"longest must be at least the median, got {self.longest}")
        if not 0 <= self.never <= 1:
            raise ValueError(f"never must be a share in [0, 1], got {self.never}")

    def draw(self, random: np.random.Generator) -> float:
        """The seconds of one pod; infinite: it never gets ready."""
        one, deviation = random.random(), random.standard_normal()  # both always: a pod's luck changes no other's
        if one < self.never:
            return math.inf
        spread = 0.0 if self.p95 is None else math.log(self.p95 / self.median) / _P95
        return min(self.median * math.exp(spread * deviation), self.longest)


class FaultKind(StrEnum):
    """What befalls a replica."""

    CRASH = "crash"
    """The engine ends at once, and its requests with it."""
    HANG = "hang"
    """The engine makes no step any more; the router goes on sending until the kubelet notices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One event; it befalls nothing where the pod does not serve then."""

    at: float
    """Seconds from the start."""
    pod: int
    """Number of the pod, in the order of creation, from 0."""
    kind: FaultKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortage:
    """GPUs that are to be had."""

    at: float
    """Seconds from the start."""
    gpus: int
    """Most replicas with GPUs from then on; who has one keeps it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What is around the engines. Times in seconds."""

    warmup: WarmUp = WarmUp(median=100.0)
    router: Router = Router.LEAST_OUTSTANDING
    connections: int = 256
    """Connections that clients keep, for a router that chooses by connection."""
    kept: float = 300.0
    """How long a client keeps a connection."""
    drain_limit: float = 600.0
    """Streams that are still open this long after their replica began to drain are cut."""
    hang_noticed_after: float = 60.0
    """How long an engine hangs until the kubelet starts it again."""
    faults: tuple[Fault, ...] = ()
    shortages: tuple[Shortage, ...] = ()
    retries: bool = False
    """Whether clients send a request that failed or was cut once more."""
    retry_after: float = 1.0
    scrape_every: float = 15.0
    scrape_lag: float = 15.0
    """How old the newest scrape is, at the least, when a law sees it."""
