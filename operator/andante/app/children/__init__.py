"""The children of a service, as pure functions from spec and operator settings to manifests for server-side apply."""

from __future__ import annotations

from collections.abc import Collection

from andante.api.v1alpha1 import LLMService
from andante.app.children.config_map import config_map
from andante.app.children.deployment import deployment
from andante.app.children.names import (
    FIELD_MANAGER,
    SERVICE_LABEL,
    Manifest,
    endpoint,
    labels,
    selector_labels,
    selector_text,
)
from andante.app.children.network import (
    cluster_service,
    disruption_budget,
    network_policy,
    pod_monitor,
    service_account,
)
from andante.app.children.pod_patch import PodTemplateError
from andante.app.kinds import POD_MONITOR
from andante.app.settings import OperatorSettings


def render(
    service: LLMService,
    *,
    settings: OperatorSettings,
    replicas: int | None,
    installed_crds: Collection[str] = (),
) -> tuple[Manifest, ...]:
    """Every child that the service wants, in the order to apply them (what a pod needs before the Deployment).

    replicas: for the Deployment; None leaves the field out, which is right only while this field manager has never
    applied it (else server-side apply removes it and the API server takes 1). installed_crds: names of optional CRDs
    that the cluster has; children of others are left out. A child that is wanted no longer is simply not in the answer:
    the caller deletes what carries the service's labels and is not here.

    Raises PodTemplateError naming the field where podTemplate touches what the operator owns.
    """
    children = [
        service_account(service),
        config_map(service),
        cluster_service(service),
        disruption_budget(service),
    ]
    if service.spec.network_policy.enabled:
        children.append(network_policy(service, settings=settings))
    if service.spec.monitoring.pod_monitor and POD_MONITOR.crd in installed_crds:
        children.append(pod_monitor(service))
    children.append(deployment(service, settings=settings, replicas=replicas))
    return tuple(children)


__all__ = [
    "FIELD_MANAGER",
    "SERVICE_LABEL",
    "Manifest",
    "PodTemplateError",
    "endpoint",
    "labels",
    "render",
    "selector_labels",
    "selector_text",
]
