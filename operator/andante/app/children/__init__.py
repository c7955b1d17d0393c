"""Renders the children of a service: pure functions from spec and operator settings to manifests."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Final

from andante.api.v1alpha1 import LLMService
from andante.app.children.config_map import CONFIG_MAP, config_map
from andante.app.children.deployment import deployment
from andante.app.children.names import (
    FIELD_MANAGER,
    SERVICE_LABEL,
    Manifest,
    RenderInput,
    alerts_config_map_name,
    endpoint,
    labels,
    selector_labels,
    selector_text,
)
from andante.app.children.network import (
    CLUSTER_SERVICE,
    DISRUPTION_BUDGET,
    NETWORK_POLICY,
    SERVICE_ACCOUNT,
    cluster_service,
    disruption_budget,
    network_policy,
    service_account,
)
from andante.app.children.permitted import PodTemplateError
from andante.app.children.pod_monitor import POD_MONITOR, pod_monitor
from andante.app.children.prometheus_rule import PROMETHEUS_RULE, alerts_config_map, prometheus_rule
from andante.app.kinds import DEPLOYMENT, POD, SERVICE, ObjectKind
from andante.app.settings import OperatorSettings

TABLE: Final[Mapping[ObjectKind, tuple[Callable[[RenderInput], Manifest | None], ...]]] = MappingProxyType(
    {
        SERVICE_ACCOUNT: (service_account,),
        CONFIG_MAP: (config_map, alerts_config_map),
        CLUSTER_SERVICE: (cluster_service,),
        DISRUPTION_BUDGET: (disruption_budget,),
        NETWORK_POLICY: (network_policy,),
        POD_MONITOR: (pod_monitor,),
        PROMETHEUS_RULE: (prometheus_rule,),
        DEPLOYMENT: (deployment,),
    }
)
"""Every kind of child with the functions that render one each, in the order of writing: what a pod needs comes first.

Watches, lists, writes, and the rights in the operator's chart follow this table. A function returns None where the spec
does not want the child.
"""
APPLIED: Final = tuple(TABLE)
CHILDREN: Final = (*APPLIED, POD)
"""The kinds that are watched beside the services; the Deployment makes the pods."""
KINDS: Final[Mapping[str, ObjectKind]] = MappingProxyType({kind.kind: kind for kind in (SERVICE, *CHILDREN)})


def render(
    service: LLMService,
    *,
    settings: OperatorSettings,
    replicas: int | None,
    installed_crds: Collection[str] = (),
) -> tuple[Manifest, ...]:
    """Render every child that the service wants, in the order to apply them (what a pod needs before the Deployment).

    replicas: for the Deployment; None leaves the field out. None is right only while this field manager has never
    applied the field; otherwise server-side apply removes the field and the API server sets 1. installed_crds: names of
    the optional CRDs that the cluster has; children of other CRDs are left out. The caller deletes children that the
    service owns and that are not in the result.

    Raises PodTemplateError with the field's name where podTemplate changes a field that the operator owns.
    """
    given = RenderInput(service=service, settings=settings, replicas=replicas, installed_crds=installed_crds)
    kinds = (kind for kind in TABLE if not kind.crd or kind.crd in installed_crds)
    return tuple(child for kind in kinds for make in TABLE[kind] if (child := make(given)) is not None)


def pods_use(child: Manifest, service: LLMService) -> bool:
    """Whether the service's pods refer to this child: its kind's word, but that the alerts are no matter of theirs."""
    alerts = child["kind"] == CONFIG_MAP.kind and child["metadata"]["name"] == alerts_config_map_name(service)
    return KINDS[child["kind"]].used_by_pods and not alerts


__all__ = [
    "APPLIED",
    "CHILDREN",
    "FIELD_MANAGER",
    "KINDS",
    "POD_MONITOR",
    "PROMETHEUS_RULE",
    "SERVICE_LABEL",
    "Manifest",
    "PodTemplateError",
    "endpoint",
    "labels",
    "pods_use",
    "render",
    "selector_labels",
    "selector_text",
]
