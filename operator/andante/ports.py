"""What the use cases need of the outside, as protocols; `andante.adapters` fulfils them, tests may too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

Object = Mapping[str, Any]
"""A Kubernetes object as the API gives it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodAddress:
    """A pod whose metrics are wanted."""

    namespace: str
    name: str
    ip: str
    port: int
    ready: bool = True
    """Whether the pod takes new requests: one that does not may still answer those that it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSample:
    """What one engine pod counted, summed over its QoE classes (metric names of docs/concepts/qoe.md)."""

    at: float
    """Unix time at which the pod was read."""
    counters: Mapping[str, float]
    """Values of the counters by name, since the engine's start."""
    open_requests: float
    open_qoe_sum: float
    open_deficit: Mapping[str, float]
    """Sum of the deficits of the requests in flight, by cause (`andante.domain.deficit_cause`)."""
    by_class: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Per QoE class: sum and count of the QoE of ended requests, since the engine's start."""
    open_by_class: Mapping[str, float] = field(default_factory=dict)
    """Per QoE class: requests in flight."""
    step_time_fitted: bool | None = None
    """Whether the deficits of cause idle come from a fitted step time; None when nothing is said."""
    scheduling: str | None = None
    """Why vLLM's own scheduling runs in place of the policy; "" when the policy does; None when nothing is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """Why a pod could not be read."""

    why: str
    scheduling: str | None = None
    """As PodSample's: an engine without our meter may still say that it runs vLLM's own scheduling, and why."""


class Clock(Protocol):
    """The only source of time."""

    def now(self) -> float:
        """Unix time in seconds. It may be set at any time: for what is told or kept, never for how long ago."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that is never set: for durations within this process."""
        ...


class MetricsSource(Protocol):
    """Reads engine pods: from Prometheus, or from the pods themselves."""

    async def read(self, pods: Sequence[PodAddress]) -> Mapping[tuple[str, str], PodSample | Unread]:
        """One entry per pod asked for, by (namespace, name). Does not raise: what cannot be read says why."""
        ...


class NotFoundError(Exception):
    """The object is gone."""


class RefusedError(Exception):
    """The API server refuses the object as it is; trying again does not help. The message is the server's."""


class UnavailableError(Exception):
    """The API server did not answer, or asks to come back later."""


class ConflictError(UnavailableError):
    """The object changed in between, or exists already: look again, then try again."""


class Cluster(Protocol):
    """The cluster's API; every method is one call, and raises NotFoundError, RefusedError or UnavailableError."""

    @property
    def unanswered(self) -> int:
        """Calls so far that got no answer at all; while it grows, the API server is away."""
        ...

    def read(self, *, kind: str, namespace: str, name: str) -> Object:
        """The object."""
        ...

    def list(self, kind: str, *, namespace: str | None = None) -> tuple[Sequence[Object], int]:
        """All objects of a kind that the operator watches (of one namespace, or of all), and the list's version."""
        ...

    def apply(self, manifest: Object) -> Object:
        """Server-side apply with our field manager; the object as it then is."""
        ...

    def delete(self, *, kind: str, namespace: str, name: str, uid: str) -> None:
        """Delete exactly the object with this uid; no error when it is gone."""
        ...

    def patch_status(self, service: Object, status: Object) -> Object:
        """Merge `status` into the status of exactly this LLMService; the service as it then is.

        Raises ConflictError where it has another version by now: the patch was made for this one.
        """
        ...

    def annotate_pod(self, *, namespace: str, name: str, annotations: Mapping[str, str]) -> None:
        """Set annotations of a pod."""
        ...

    def set_replicas(self, deployment: Object, replicas: int) -> Object:
        """Set the replicas of exactly this Deployment and nothing else; the Deployment as it then is."""
        ...

    def last_log_lines(self, *, namespace: str, pod: str, container: str, lines: int) -> str:
        """The newest log lines of a container's previous run. A kubelet answers it, so it waits for a moment only."""
        ...

    def emit(self, *, about: Object, kind: str, reason: str, message: str) -> None:
        """An Event about an object; `kind` is Normal or Warning."""
        ...
