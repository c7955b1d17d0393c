"""Shows the operator's metrics of each service, read anew at each scrape: a deleted service leaves no series."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from andante.app.status.figures import ServiceFigures
from andante.domain import metric_names

_COUNTED_FROM_ZERO = ("QoEDeficit", "OneFewerSuffices")
"""Reasons that every service has from its first scrape: increase() does not see a counter's first value."""
Samples = Iterable[tuple[tuple[str, ...], float]]
"""Values of the family's own labels, and the value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One metric family: what it means, and its samples of one service."""

    name: str
    kind: Literal["gauge", "counter"] = "gauge"
    labels: tuple[str, ...] = ()
    """Beside `namespace` and `llmservice`."""
    documentation: str
    samples: Callable[[ServiceFigures], Samples]

    def empty(self) -> GaugeMetricFamily | CounterMetricFamily:
        """The family without a sample."""
        of_kind = GaugeMetricFamily if self.kind == "gauge" else CounterMetricFamily
        return of_kind(self.name, self.documentation, labels=("namespace", "llmservice", *self.labels))


def _known(value: float | None) -> Samples:
    """One sample, or none where the figure is not known."""
    return () if value is None else (((), float(value)),)


def _decisions(figures: ServiceFigures) -> Samples:
    counted = {**dict.fromkeys(_COUNTED_FROM_ZERO, 0), **figures.decisions}
    return (((reason,), float(number)) for reason, number in sorted(counted.items()))


FAMILIES: tuple[Family, ...] = (
    Family(
        name=metric_names.SERVICE_DESIRED_REPLICAS,
        documentation="Replicas that the service is to have: the scaler's number; in the modes Manual and Advisory the"
        " resource's.",
        samples=lambda s: _known(s.desired),
    ),
    Family(
        name=metric_names.SERVICE_READY_REPLICAS,
        documentation="Pods that serve.",
        samples=lambda s: _known(s.ready),
    ),
    Family(
        name=metric_names.SERVICE_STARTING_REPLICAS,
        documentation="Pods that were created and do not serve yet.",
        samples=lambda s: _known(s.starting),
    ),
    Family(
        name=metric_names.SERVICE_DRAINING_REPLICAS,
        documentation="Pods that finish their streams and then end.",
        samples=lambda s: _known(s.draining),
    ),
    Family(
        name=metric_names.SERVICE_METRICS_STATE,
        labels=("state",),
        documentation="1 for the present state of the service's figures.",
        samples=lambda s: () if s.metrics_state is None else (((s.metrics_state,), 1.0),),
    ),
    Family(
        name=metric_names.SERVICE_MEAN_QOE,
        documentation="Mean QoE of the scaler's window, ended and open requests; no sample while it is not known.",
        samples=lambda s: _known(s.mean_qoe),
    ),
    Family(
        name=metric_names.SERVICE_DEFICIT,
        labels=("cause",),
        documentation="Mean deficit of the scaler's window by cause; the causes add up to the whole deficit.",
        samples=lambda s: (((cause.value,), value) for cause, value in s.deficit.items()),
    ),
    Family(
        name=metric_names.SERVICE_GOOD_RATIO,
        documentation="Share of good requests among those that ended in the scaler's window.",
        samples=lambda s: _known(s.good_fraction),
    ),
    Family(
        name=metric_names.SERVICE_SMOOTH_GOODPUT,
        documentation="Tokens per second in the scaler's window, minus the penalty for readers' idle time; may be"
        " negative.",
        samples=lambda s: _known(s.smooth_goodput),
    ),
    Family(
        name=metric_names.SERVICE_CONDITION,
        labels=("type", "status", "reason"),
        documentation="1 for the present status and reason of each condition.",
        samples=lambda s: ((condition, 1.0) for condition in s.conditions),
    ),
    Family(
        name=metric_names.SLO_OBJECTIVE_RATIO,
        documentation="Share of requests that is promised to be good (spec.qoe.objective.goodFraction).",
        samples=lambda s: _known(s.promise.good_fraction if s.promise else None),
    ),
    Family(
        name=metric_names.SLO_WINDOW_SECONDS,
        documentation="Time over which the promise holds (spec.qoe.objective.window).",
        samples=lambda s: _known(s.promise.window if s.promise else None),
    ),
    Family(
        name=metric_names.SLO_BUDGET_REMAINING_RATIO,
        documentation="Share of the window's error budget that is left, at most 1; below 0: overspent. No sample while"
        " too few requests were counted.",
        samples=lambda s: _known(s.budget_remaining),
    ),
    Family(
        name=metric_names.SCALING_DECISIONS,
        kind="counter",
        labels=("reason",),
        documentation="Decisions that changed the number of replicas that the scaler wants.",
        samples=_decisions,
    ),
)


class ServiceMetrics(Collector):
    """Collects the series of all services. Without a source there are none, as in an operator without the Lease."""

    def __init__(self) -> None:
        self.source: Callable[[], Sequence[ServiceFigures]] = tuple

    def describe(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """The families, without samples."""
        return (family.empty() for family in FAMILIES)

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """The families with the samples of this moment."""
        services = self.source()
        for family in FAMILIES:
            found = family.empty()
            for one in services:
                for labels, value in family.samples(one):
                    found.add_metric((one.namespace, one.name, *labels), value)
            yield found
