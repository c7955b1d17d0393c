"""Every metric family of Andante, from the objects that write them. The reference page and tests read it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from prometheus_client.metrics import MetricWrapperBase

from andante.adapters.own_metrics import OwnMetrics
from andante.adapters.service_metrics import FAMILIES
from andante.domain.request_meter import Objective
from andante_vllm.meter_metrics import MeterMetrics
from andante_vllm.scheduler_metrics import SchedulerMetrics

Source = Literal["meter", "scheduler", "operator", "service"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricFamily:
    """One family, as /metrics shows it."""

    name: str
    """A counter's with `_total`, a histogram's without `_bucket`."""
    kind: str
    labels: tuple[str, ...]
    documentation: str
    source: Source
    """The part of Andante that writes it."""

    @property
    def series(self) -> tuple[str, ...]:
        """Names of its samples."""
        # A Prometheus that keeps native histograms has a series of the histogram's own name, and no other.
        ends = ("", "_bucket", "_sum", "_count") if self.kind == "histogram" else ("",)
        return tuple(f"{self.name}{end}" for end in ends)


def metric_families() -> tuple[MetricFamily, ...]:
    """All families, by source, each in the order in which they are defined."""
    meter = MeterMetrics(model_name="model", objective=Objective())
    scheduler = SchedulerMetrics(model_name="model", policy="qoe")
    return (
        *_of(vars(meter).values(), "meter"),
        *_of(scheduler.registry._collector_to_names, "scheduler"),
        *_of(OwnMetrics().registry._collector_to_names, "operator"),
        *(
            MetricFamily(
                name=family.name,
                kind=family.kind,
                labels=("namespace", "llmservice", *family.labels),
                documentation=family.documentation,
                source="service",
            )
            for family in FAMILIES
        ),
    )


def _of(found: Iterable[object], source: Source) -> Iterable[MetricFamily]:
    # Before the first sample, the client library has a family's label names only in a private field.
    for each in found:
        if isinstance(each, MetricWrapperBase):
            yield MetricFamily(
                name=each._name + ("_total" if each._type == "counter" else ""),
                kind=str(each._type),
                labels=tuple(each._labelnames),
                documentation=each._documentation,
                source=source,
            )
