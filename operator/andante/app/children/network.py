"""What other pods see of a service: the Service, the disruption budget, the optional NetworkPolicy and PodMonitor."""

from __future__ import annotations

from typing import Any

from andante.api.v1alpha1 import LLMService
from andante.api.v1alpha1.pod_template import ENGINE_CONTAINER
from andante.app.children.names import Manifest, labels, manifest, selector_labels
from andante.app.settings import OperatorSettings
from andante.engine_config import ENGINE_PORT

METRICS_INTERVAL = "15s"


def service_account(service: LLMService) -> Manifest:
    """An identity of its own, without a token: an engine has no business with the API server."""
    return manifest(service, kind="ServiceAccount", body={"automountServiceAccountToken": False})


def cluster_service(service: LLMService) -> Manifest:
    """Port 80 of `<name>.<namespace>.svc` to the ready engines."""
    return manifest(
        service,
        kind="Service",
        body={
            "spec": {
                "type": "ClusterIP",
                "selector": selector_labels(service),
                # By number: a sidecar may have a port of that name, too.
                "ports": [
                    {
                        "name": "http",
                        "port": 80,
                        "targetPort": ENGINE_PORT,
                        "protocol": "TCP",
                        "appProtocol": "http",
                    }
                ],
            }
        },
    )


def disruption_budget(service: LLMService) -> Manifest:
    """One replica at a time may be evicted; a service of one replica can be, or its node could never be drained."""
    return manifest(
        service,
        kind="PodDisruptionBudget",
        body={
            "spec": {
                "maxUnavailable": 1,
                "selector": {"matchLabels": selector_labels(service)},
                # A replica that never got ready must not hold up a drain.
                "unhealthyPodEvictionPolicy": "AlwaysAllow",
            }
        },
    )


def network_policy(service: LLMService, *, settings: OperatorSettings) -> Manifest:
    """Ingress to the engine's port from the listed peers and the operator; nothing else."""
    peers: list[dict[str, Any]] = [dict(peer) for peer in service.spec.network_policy.allow_from]
    if not peers:
        peers = [{"podSelector": {}}]
    operator: dict[str, Any] = {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "andante-operator"}}}
    operator["namespaceSelector"] = (
        {"matchLabels": {"kubernetes.io/metadata.name": settings.operator_namespace}}
        if settings.operator_namespace
        else {}
    )
    return manifest(
        service,
        kind="NetworkPolicy",
        body={
            "spec": {
                "podSelector": {"matchLabels": selector_labels(service)},
                "policyTypes": ["Ingress"],
                "ingress": [{"from": [*peers, operator], "ports": [{"port": ENGINE_PORT, "protocol": "TCP"}]}],
            }
        },
    )


def pod_monitor(service: LLMService) -> Manifest:
    """Tells a Prometheus Operator to scrape the engines."""
    return manifest(
        service,
        kind="PodMonitor",
        body={
            "spec": {
                "selector": {"matchLabels": labels(service)},
                "podMetricsEndpoints": [
                    {
                        "port": "http",
                        "path": "/metrics",
                        "interval": METRICS_INTERVAL,
                        "relabelings": [
                            {
                                "action": "keep",
                                "sourceLabels": ["__meta_kubernetes_pod_container_name"],
                                "regex": ENGINE_CONTAINER,
                            }
                        ],
                    }
                ],
            }
        },
    )
