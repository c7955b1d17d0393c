"""Defines the protocols by which the use cases reach the outside; `andante.adapters` implements them, and tests may."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from andante.domain.scaling.engine_capacity import EngineCapacity

Object = Mapping[str, Any]
"""A Kubernetes object in the API's form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodAddress:
    """A pod to read metrics from."""

    namespace: str
    name: str
    ip: str
    port: int
    ready: bool = True
    """Whether the pod gets new requests. A pod that does not may still answer its open requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSample:
    """The figures of one engine pod, summed over its QoE classes (names as in docs/concepts/qoe.md)."""

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
    """Whether the deficits with cause idle use a fitted step time; None when the pod does not say."""
    silent_seconds: float | None = None
    """For how long the engine's core has made no step while requests are open; None when the pod does not say."""
    arrived: tuple[float, float] | None = None
    """Requests that arrived since the engine's start, and their prompts' tokens; None when the pod does not say."""
    generated: float | None = None
    """Tokens that it has generated since its start, of open requests too; None when the pod does not say."""
    waiting: tuple[float, float] | None = None
    """Requests in flight without a token, and their prompts' tokens; None when the pod does not say."""
    capacity: EngineCapacity | None = None
    """What the engine can hold and how fast it is; None when the pod does not say."""
    scheduling: str | None = None
    """Why vLLM's own scheduling runs in place of the policy; "" when the policy runs; None when not known."""
    target: str = ""
    """Which scrape of the pod it is, where a store has several; "" where the operator read the pod itself."""
    job: str = ""
    """The scrape's job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """Why a pod could not be read."""

    why: str
    scheduling: str | None = None
    """As in PodSample: an engine without our meter may still say that it runs vLLM's own scheduling, and why."""
    of_source: bool = False
    """Whether the source itself failed, and not this pod alone."""


class Clock(Protocol):
    """The only source of time."""

    def now(self) -> float:
        """Unix time in seconds. It may be set at any time: use it for shown or stored times, never for durations."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that is never set: use it for durations within this process."""
        ...


class MetricsSource(Protocol):
    """Reads the metrics of engine pods: from Prometheus, or from the pods themselves."""

    async def read(self, pods: Sequence[PodAddress]) -> Mapping[tuple[str, str], PodSample | Unread]:
        """Read all `pods`; one entry per pod, by (namespace, name). Does not raise: an Unread entry says why."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedRule:
    """A rule that Prometheus evaluates."""

    group: str
    name: str
    """Of the alert, or of the series that is recorded."""
    error: str = ""
    """Why its last evaluation failed; empty: it did not fail, or was not evaluated yet."""


class RulesSource(Protocol):
    """Tells which rules a Prometheus evaluates."""

    async def read(self) -> Sequence[LoadedRule] | Unread:
        """All rules. Does not raise: Unread says why they are not known."""
        ...


class NotFoundError(Exception):
    """The object is gone."""


class RefusedError(Exception):
    """The API server refuses the object; another try does not help. The message is the API server's."""


class UnavailableError(Exception):
    """The API server did not answer, or asks to try again later."""


class ConflictError(UnavailableError):
    """The object changed since it was read, or exists already: read it again, then try again."""


class Cluster(Protocol):
    """The cluster's API; every method is one call, and raises NotFoundError, RefusedError or UnavailableError."""

    @property
    def unanswered(self) -> int:
        """Number of calls so far without any answer; while it grows, the API server is unreachable."""
        ...

    def read(self, *, kind: str, namespace: str, name: str) -> Object:
        """The object."""
        ...

    def list(self, kind: str, *, namespace: str | None = None) -> tuple[Sequence[Object], int]:
        """All objects of a kind that the operator watches (of one namespace, or of all), and the list's version."""
        ...

    def apply(self, manifest: Object) -> Object:
        """Server-side apply with our field manager; return the new object."""
        ...

    def delete(self, *, kind: str, namespace: str, name: str, uid: str) -> None:
        """Delete exactly the object with this uid; no error if it is gone."""
        ...

    def patch_status(self, service: Object, status: Object) -> Object:
        """Merge `status` into the status of exactly this version of the LLMService; return the new service.

        Raises ConflictError where the service has another version by now.
        """
        ...

    def annotate_pod(self, *, namespace: str, name: str, annotations: Mapping[str, str]) -> None:
        """Set annotations of a pod."""
        ...

    def set_replicas(self, deployment: Object, replicas: int) -> Object:
        """Set only the replicas of exactly this Deployment; return the new Deployment."""
        ...

    def last_log_lines(self, *, namespace: str, pod: str, container: str, lines: int) -> str:
        """The newest log lines of a container's previous run. The timeout is short, as a kubelet answers this call."""
        ...

    def emit(self, *, about: Object, kind: str, reason: str, message: str, series: str = "") -> None:
        """Write an Event about an object; `kind` is Normal or Warning.

        Events of the same reason and `series` are one, which counts them and has the newest message.
        """
        ...
