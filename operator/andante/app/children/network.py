"""Makes the Service, the ServiceAccount, the PodDisruptionBudget, and the optional NetworkPolicy."""

from __future__ import annotations

from typing import Any, Final

from andante.app.children.names import Manifest, RenderInput, manifest, selector_labels
from andante.app.kinds import ObjectKind
from andante.engine_config import ENGINE_PORT

SERVICE_ACCOUNT: Final = ObjectKind(
    kind="ServiceAccount",
    group="",
    version="v1",
    plural="serviceaccounts",
    metadata_only=True,
    used_by_pods=True,
    purpose="The pods' identity.",
)
CLUSTER_SERVICE: Final = ObjectKind(
    kind="Service", group="", version="v1", plural="services", metadata_only=True, purpose="What clients reach."
)
DISRUPTION_BUDGET: Final = ObjectKind(
    kind="PodDisruptionBudget",
    group="policy",
    version="v1",
    plural="poddisruptionbudgets",
    purpose="So that a drained node takes one replica at a time.",
)
NETWORK_POLICY: Final = ObjectKind(
    kind="NetworkPolicy",
    group="networking.k8s.io",
    version="v1",
    plural="networkpolicies",
    metadata_only=True,
    purpose="Where spec.networkPolicy asks for one.",
)


def service_account(given: RenderInput) -> Manifest:
    """An own ServiceAccount without a token: an engine never calls the API server."""
    return manifest(given.service, kind=SERVICE_ACCOUNT, body={"automountServiceAccountToken": False})


def cluster_service(given: RenderInput) -> Manifest:
    """Port 80 of `<name>.<namespace>.svc` to the ready engines."""
    return manifest(
        given.service,
        kind=CLUSTER_SERVICE,
        body={
            "spec": {
                "type": "ClusterIP",
                "selector": selector_labels(given.service),
                # Use the port's number: a sidecar may have a port with the same name.
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


def disruption_budget(given: RenderInput) -> Manifest:
    """Allow the eviction of one replica at a time. A single replica may be evicted too, so that nodes can drain."""
    return manifest(
        given.service,
        kind=DISRUPTION_BUDGET,
        body={
            "spec": {
                "maxUnavailable": 1,
                "selector": {"matchLabels": selector_labels(given.service)},
                # A replica that was never ready must not block a drain.
                "unhealthyPodEvictionPolicy": "AlwaysAllow",
            }
        },
    )


def network_policy(given: RenderInput) -> Manifest | None:
    """Allow ingress to the engine's port only from listed peers and the operator. None where the spec wants none."""
    service, settings = given.service, given.settings
    if not service.spec.network_policy.enabled:
        return None
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
        kind=NETWORK_POLICY,
        body={
            "spec": {
                "podSelector": {"matchLabels": selector_labels(service)},
                "policyTypes": ["Ingress"],
                "ingress": [{"from": [*peers, operator], "ports": [{"port": ENGINE_PORT, "protocol": "TCP"}]}],
            }
        },
    )
