"""Describes what a scaling law sees of a service at one moment, and what a law is.

The fleet simulator fills `Seen`; every law of the league reads it: the rivals' laws of `andante.sim.laws`, and ours.

A figure is as old as the simulated metrics are: what a law sees at `now` was scraped before. `None` means that a figure
could not be read (no sample, or a stale one). NaN means that it was read and has no value: a quantile over a window
without requests, as a query of Prometheus answers it. Neither is 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from andante.domain.step_time import Profile, StepTimeCoefficients


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSeen:
    """One pod that the Deployment owns. A pod that drains is not among them: Kubernetes' own laws leave it out too."""

    name: str
    """Unique among all pods of the run."""
    ready: bool
    pending: bool = False
    """Phase Pending: without a node, or its image is not there yet."""
    age: float
    """Seconds since the pod was created."""
    ready_for: float = 0.0
    """Seconds since the pod became ready; 0 while it is not."""
    running: float | None = None
    """Requests in the batch (`vllm:num_requests_running`)."""
    waiting: float | None = None
    """Requests in the queue, preempted ones included (`vllm:num_requests_waiting`)."""
    most_waiting: float | None = None
    """Maximum of `waiting` over the last minute's samples."""
    kv_use: float | None = None
    """Share of the KV cache that requests hold, in [0, 1] (`vllm:kv_cache_usage_perc`)."""
    most_kv_use: float | None = None
    """Maximum of `kv_use` over the last minute's samples."""
    tokens_in_use: float | None = None
    """KV tokens that the requests of the batch hold."""
    queued_prompt_tokens: float | None = None
    """Prompt tokens of the queue that are not computed yet, preempted requests left out."""
    queued_kv_tokens: float | None = None
    """Tokens whose KV preempted requests of the queue had; they must be computed anew."""

    @property
    def open_requests(self) -> float | None:
        """Requests that the pod has, in its batch or its queue."""
        return None if self.running is None or self.waiting is None else self.running + self.waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Counters since the start of the run, over all pods that ever were; a law takes the difference of two."""

    at: float | None = None
    """When they were scraped, seconds since the start of the run; None: at the moment at which they are seen."""
    arrived: float = 0.0
    """Requests."""
    arrived_prompt_tokens: float = 0.0
    ended: float = 0.0
    """Requests whose answer ended, or whose reader left."""
    ended_output_tokens: float = 0.0
    ended_qoe: float = 0.0
    """Sum of the ended requests' QoE."""
    ended_good: float = 0.0
    """Ended requests that met the objective."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """What one replica is. A law knows it from the engine's flags and from its fitted step time."""

    kv_tokens: int
    max_num_seqs: int
    max_num_batched_tokens: int
    step_time: StepTimeCoefficients
    max_model_len: int = 16_384
    """Longest request in tokens, prompt and answer."""

    def __post_init__(self) -> None:
        for name in ("kv_tokens", "max_num_seqs", "max_num_batched_tokens", "max_model_len"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")

    @classmethod
    def of(cls, profile: Profile) -> Replica:
        """The replica of a step-time profile."""
        return cls(
            kv_tokens=profile.kv_capacity_tokens,
            max_num_seqs=profile.max_num_seqs,
            max_num_batched_tokens=profile.max_num_batched_tokens,
            step_time=profile.coefficients,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What is promised to readers. A law whose targets are latencies derives them from it."""

    expected_ttft: float = 1.0
    """Seconds until a reader expects the first token."""
    pace: float = 4.8
    """Tokens per second that a reader reads; > 0."""
    target_qoe: float = 0.95
    """Least mean QoE; in (0, 1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a law sees of the service at `now`."""

    now: float
    """Seconds since the start of the run."""
    spec: int
    """Replicas that the Deployment asks for."""
    pods: tuple[PodSeen, ...]
    """Every pod that was created and does not drain, Pending ones included, in the order of their creation."""
    replica: Replica
    objective: Objective
    totals: Totals | None = None
    router_waiting: float | None = 0.0
    """Requests that wait in the router, before any replica."""
    router_prompt_tokens: float | None = 0.0
    """Their prompt tokens."""
    ttft_p90: float | None = None
    """90th percentile of the times to first token, of first tokens in the last minute; seconds."""
    tpot_p90: float | None = None
    """The same of the mean time per output token after the first, of requests that ended in the last minute."""
    warmup: float | None = None
    """Median seconds from a pod's creation to ready, of the pods so far; None: none became ready."""
    source_down: bool = False
    """The source of the metrics does not answer at all; else a missing figure is a missing series."""

    @property
    def ready(self) -> int:
        """Ready pods."""
        return sum(pod.ready for pod in self.pods)

    @property
    def ready_pods(self) -> tuple[PodSeen, ...]:
        """Those of `pods` that are ready, in the same order."""
        return tuple(pod for pod in self.pods if pod.ready)


class Law(Protocol):
    """A scaling law with its own memory: one object serves one run and must not be used for a second one."""

    min_replicas: int
    max_replicas: int

    @property
    def period(self) -> float:
        """Seconds between two calls."""

    def wanted(self, seen: Seen) -> int:
        """Replicas to ask for now, from `min_replicas` to `max_replicas`."""


def readable(value: float | None) -> bool:
    """Whether a figure was read and has a value."""
    return value is not None and not math.isnan(value)
