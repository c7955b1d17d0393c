"""Defines spec.rollout, spec.monitoring, spec.networkPolicy: how changes, figures and traffic reach the pods."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import ConfigDict, Field, WithJsonSchema

from andante.api.rules import PATTERN_HINT, Rule, rules
from andante.api.v1alpha1.relabeling import ObjectLabels, Relabeling
from andante.api.values import APIModel, Duration, FreeObject

_PERCENT = r"^(100|[1-9]?[0-9])%$"

IntOrPercent = Annotated[
    Annotated[int, Field(ge=0)] | str,
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "maxLength": 5,
            PATTERN_HINT: _PERCENT,
            **rules(
                Rule(
                    rule=f"type(self) == int ? (self >= 0 && self <= 1000) : self.matches('{_PERCENT}')",
                    message="must be a number of replicas from 0 to 1000, or a percentage from 0% to 100%",
                )
            ),
        }
    ),
]

_ZERO = "['0', '0%', '00%'].exists(zero, zero == string({field}))"


class Rollout(APIModel):
    """How a change reaches the pods, and how they leave."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                rule=f"!({_ZERO.format(field='self.maxSurge')} && {_ZERO.format(field='self.maxUnavailable')})",
                message="maxSurge and maxUnavailable are both 0, so a rollout could never move;"
                " set maxUnavailable to 1 where no spare GPU is to be had",
                field_path=".maxSurge",
            )
        )
    )

    max_surge: IntOrPercent = 1
    """Replicas (or a percentage) above the wanted number during a rollout. 1 needs spare GPUs for one replica."""
    max_unavailable: IntOrPercent = 0
    """Replicas (or a percentage) that a rollout may remove before new replicas are ready."""
    drain_timeout: Annotated[float, Duration(minimum="1s", maximum="1d")] = 600.0
    """How long a leaving replica may finish its streams. Later its open streams are cut, and counted as drained."""
    startup_timeout: Annotated[float, Duration(minimum="10s", maximum="1d")] = 1800.0
    """How long a replica may download and load the model before it is restarted."""


LONGEST_INTERVAL: Final = "2m"
"""Prometheus forgets a series after 5 minutes without a sample: two samples and a missed one must fit."""
ScrapeInterval = Annotated[float, Duration(minimum="5s", maximum=LONGEST_INTERVAL)]
"""A scrape a second of each engine would be the author's choice and the Prometheus' load."""


class Monitoring(APIModel):
    """Objects that Andante creates for Prometheus."""

    pod_monitor: bool = True
    """Create a PodMonitor, where its CRD exists."""
    prometheus_rule: bool = True
    """Create a PrometheusRule with the objective's burn-rate alerts. Where its CRD is missing: a ConfigMap NAME-alerts
    with the same rules as a file of Prometheus."""
    labels: ObjectLabels = Field(default_factory=dict)
    """Labels of the PodMonitor and the PrometheusRule, by which a Prometheus selects them (`release: prometheus`).
    Merged over the chart's monitoring.labels."""
    interval: ScrapeInterval | None = None
    """How often the pods are scraped. Default: the chart's monitoring.interval."""
    histogram_buckets: bool | None = None
    """Whether Prometheus keeps the buckets of histograms, about 4 of 5 series of a pod. Scaling and alerts need none of
    them; panels with percentiles do. Default: the chart's monitoring.histogramBuckets."""
    relabelings: Annotated[tuple[Relabeling, ...], Field(max_length=16)] = ()
    """Rules for the pods' labels before a scrape, as in a PodMonitor. The labels namespace, pod and llmservice stay the
    operator's."""
    metric_relabelings: Annotated[tuple[Relabeling, ...], Field(max_length=16)] = ()
    """Rules for the series of each scrape, as in a PodMonitor. Series that scaling needs must stay: where one is
    dropped, the pods count as not measured, and the condition MetricsAvailable names it."""


class NetworkPolicy(APIModel):
    """Who may open connections to the engine's port."""

    enabled: bool = False
    """Create a NetworkPolicy. Egress stays open for downloads from the hub."""
    allow_from: Annotated[tuple[FreeObject, ...], Field(max_length=32)] = ()
    """NetworkPolicyPeers (podSelector, namespaceSelector, ipBlock) that may connect, besides the operator. Empty: every
    pod of the service's namespace. A Prometheus in another namespace needs an entry."""
