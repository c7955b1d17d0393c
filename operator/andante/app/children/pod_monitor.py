"""Makes the optional PodMonitor, which tells a Prometheus Operator to scrape the engines."""

from __future__ import annotations

import re
from typing import Any, Final

from andante.api.v1alpha1.pod_template import ENGINE_CONTAINER
from andante.api.v1alpha1.relabeling import Relabeling
from andante.app.children.names import SERVICE_LABEL, Manifest, RenderInput, labels, manifest, monitoring_labels
from andante.app.kinds import ObjectKind

POD_MONITOR: Final = ObjectKind(
    kind="PodMonitor",
    group="monitoring.coreos.com",
    version="v1",
    plural="podmonitors",
    crd="podmonitors.monitoring.coreos.com",
    metadata_only=True,
    purpose="Tells a Prometheus Operator to scrape the engines, where its CRD is installed.",
)
SERVICE_SERIES_LABEL: Final = "llmservice"
"""Label of every series of an engine: the LLMService's name. No label of vLLM's own says it: two services may serve one
model name."""


def _pod_meta(name: str) -> str:
    return f"__meta_kubernetes_pod_{re.sub(r'[^a-zA-Z0-9_]', '_', name)}"


_SCRAPED: Final[tuple[dict[str, Any], ...]] = (
    {"action": "keep", "sourceLabels": [_pod_meta("container_name")], "regex": ENGINE_CONTAINER},
    # A pod that loads its model answers nothing: each would be a target that is down. A pod that drains answers until
    # its last stream has ended, and its readiness probe with it, so the pod stays ready and is scraped. Prometheus has
    # no label for a pod that is being deleted.
    {"action": "keep", "sourceLabels": [_pod_meta("ready")], "regex": "true"},
)
# The author's rules run before these rules, so no rule can put an engine's series under another namespace or service.
_OURS: Final[tuple[dict[str, Any], ...]] = tuple(
    {"action": "replace", "sourceLabels": [source], "targetLabel": label}
    for label, source in (
        ("namespace", "__meta_kubernetes_namespace"),
        ("pod", _pod_meta("name")),
        (SERVICE_SERIES_LABEL, _pod_meta(f"label_{SERVICE_LABEL}")),
    )
)
_NO_BUCKETS: Final = {"action": "drop", "sourceLabels": ["__name__"], "regex": ".+_bucket"}


def _wire(rule: Relabeling) -> dict[str, Any]:
    return {name: value for name, value in rule.to_wire().items() if value != []}


def pod_monitor(given: RenderInput) -> Manifest | None:
    """Let a Prometheus Operator scrape the engines. None where spec.monitoring.podMonitor is off."""
    service, defaults = given.service, given.settings.monitoring
    asked = service.spec.monitoring
    if not asked.pod_monitor:
        return None
    interval = defaults.interval if asked.interval is None else asked.interval
    buckets = defaults.histogram_buckets if asked.histogram_buckets is None else asked.histogram_buckets
    endpoint: dict[str, Any] = {
        "port": "http",
        "path": "/metrics",
        # In whole units: Prometheus takes no 1.500s.
        "interval": f"{round(interval * 1000)}ms" if interval % 1 else f"{round(interval)}s",
        "relabelings": [*_SCRAPED, *map(_wire, asked.relabelings), *_OURS],
    }
    metric_relabelings = list(map(_wire, asked.metric_relabelings))
    if metric_relabelings:
        # The labels of the pod are gone after a scrape; the values are known.
        metric_relabelings += [
            {"action": "replace", "targetLabel": label, "replacement": value}
            for label, value in (("namespace", service.namespace), (SERVICE_SERIES_LABEL, service.name))
        ]
    if not buckets:
        metric_relabelings.insert(0, _NO_BUCKETS)
    if metric_relabelings:
        endpoint["metricRelabelings"] = metric_relabelings
    return manifest(
        service,
        kind=POD_MONITOR,
        labelled=monitoring_labels(given),
        body={"spec": {"selector": {"matchLabels": labels(service)}, "podMetricsEndpoints": [endpoint]}},
    )
