"""Defines the operator's own metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import prometheus_client

from andante.adapters.service_metrics import ServiceMetrics
from andante.app.status.figures import ServiceFigures
from andante.domain import metric_names

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class OwnMetrics:
    """The metrics of one operator, in their own registry."""

    def __init__(self) -> None:
        self.registry = prometheus_client.CollectorRegistry()
        for collector in (prometheus_client.ProcessCollector, prometheus_client.PlatformCollector):
            collector(registry=self.registry)
        self._tick = prometheus_client.Histogram(
            "andante_operator_tick_seconds",
            "Duration of one scaling tick of all services.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._ticks = prometheus_client.Counter(
            metric_names.OPERATOR_TICKS, "Scaling ticks that succeeded.", registry=self.registry
        )
        self._read = prometheus_client.Histogram(
            "andante_operator_read_seconds",
            "Part of a tick: reading the metrics of all engines, from the engines or from Prometheus.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._reconcile = prometheus_client.Histogram(
            "andante_operator_reconcile_seconds",
            "Duration of one reconcile of one service.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._failures = prometheus_client.Counter(
            "andante_operator_tick_failures", "Scaling ticks that failed for all services.", registry=self.registry
        )
        self._services = prometheus_client.Gauge(
            "andante_operator_services", "LLMServices that the newest tick decided on.", registry=self.registry
        )
        self._calls = prometheus_client.Counter(
            "andante_operator_api_calls",
            "Calls to the Kubernetes API, without watches.",
            ("verb", "kind"),
            registry=self.registry,
        )
        self._faults = prometheus_client.Counter(
            "andante_operator_faults",
            "Faults that the operator caught, by kind of work. Each cost one service, or one task, one round.",
            ("kind",),
            registry=self.registry,
        )
        self._gone = prometheus_client.Counter(
            "andante_operator_open_requests_gone",
            "Requests that were open when an engine was read for the last time: cut, or ended after that.",
            registry=self.registry,
        )
        self._queue = prometheus_client.Gauge(
            "andante_operator_queue_services", "Services that wait for a reconcile or a retry.", registry=self.registry
        )
        self._rollouts = prometheus_client.Gauge(
            "andante_operator_rollouts",
            "Services that replace their pods (rolling), or wait for their turn to replace them (waiting).",
            ("state",),
            registry=self.registry,
        )
        self._objects = prometheus_client.Gauge(
            "andante_operator_objects",
            "Objects of the cluster that the operator holds in memory.",
            ("kind",),
            registry=self.registry,
        )
        self._states = prometheus_client.Gauge(
            "andante_operator_service_states",
            "LLMServices for which the operator holds a state in memory: measurements, decision, children.",
            registry=self.registry,
        )

        self._of_services = ServiceMetrics()
        self.registry.register(self._of_services)

    def services(self, figures: Callable[[], Sequence[ServiceFigures]]) -> None:
        """Show the figures of each service, as `figures` gives them when /metrics is read."""
        self._of_services.source = figures

    def rollouts(self, *, rolling: int, waiting: int) -> None:
        """Show how many services roll and how many wait, by the newest round."""
        self._rollouts.labels("rolling").set(rolling)
        self._rollouts.labels("waiting").set(waiting)

    def api_call(self, verb: str, kind: str) -> None:
        """Count a call that was sent."""
        self._calls.labels(verb, kind).inc()

    def ticked(self, *, seconds: float, services: int) -> None:
        """Count a tick that succeeded."""
        self._tick.observe(seconds)
        self._ticks.inc()
        self._services.set(services)

    def read(self, seconds: float) -> None:
        """Record the time in which all engines were read, or as many as there was time for."""
        self._read.observe(seconds)

    def tick_failed(self) -> None:
        """Count a tick that raised an error."""
        self._failures.inc()

    def fault(self, kind: str) -> None:
        """Count a fault that was caught."""
        self._faults.labels(kind).inc()

    def gone(self, requests: float) -> None:
        """Count the requests that were open on an engine when it was read last, now that the engine is gone."""
        self._gone.inc(requests)

    def held(self, kinds: Iterable[str], objects: Callable[[str], int], states: Callable[[], int]) -> None:
        """Show how many objects of each of `kinds` are held, and how many services have a state."""
        for kind in kinds:
            self._objects.labels(kind).set_function(lambda kind=kind: float(objects(kind)))  # type: ignore[misc]
        self._states.set_function(lambda: float(states()))

    def queue_length(self, length: Callable[[], int]) -> None:
        """Show the length of the reconcile queue."""
        self._queue.set_function(lambda: float(length()))

    def timed(self, reconcile: Callable[[str, str], float | None]) -> Callable[[str, str], float | None]:
        """Wrap `reconcile` so that its duration is measured."""

        def observed(namespace: str, name: str) -> float | None:
            with self._reconcile.time():
                return reconcile(namespace, name)

        return observed
