"""Makes the names, labels and owner references that all children of a service share."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from andante.api.v1alpha1 import API_VERSION, KIND, LLMService
from andante.app.kinds import ObjectKind
from andante.app.settings import OperatorSettings

Manifest = dict[str, Any]

FIELD_MANAGER: Final = "andante"
"""Field manager of every server-side apply."""
CONFIG_HASH_ANNOTATION: Final = "andante.dev/engine-config-hash"
SERVICE_LABEL: Final = "andante.dev/llmservice"
ENGINE_NAME: Final = "andante-engine"


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderInput:
    """The input from which a child is rendered."""

    service: LLMService
    settings: OperatorSettings
    replicas: int | None
    """For the Deployment; None leaves the field out."""
    installed_crds: Collection[str] = ()
    """Names of the optional CRDs that the cluster has."""


def selector_labels(service: LLMService) -> dict[str, str]:
    """Labels that select the service's pods. They can never change: a Deployment's selector is immutable."""
    return {"app.kubernetes.io/name": ENGINE_NAME, "app.kubernetes.io/instance": service.name}


def labels(service: LLMService) -> dict[str, str]:
    """Labels of every child and pod."""
    return {
        **selector_labels(service),
        "app.kubernetes.io/managed-by": "andante",
        SERVICE_LABEL: service.name,
    }


def monitoring_labels(given: RenderInput) -> dict[str, str]:
    """Labels of objects that a Prometheus selects: the chart's, then the author's, then our own, which always win."""
    return {**given.settings.monitoring.labels, **given.service.spec.monitoring.labels, **labels(given.service)}


def selector_text(service: LLMService) -> str:
    """The selector as the API writes it in status.selector and in list requests."""
    return ",".join(f"{key}={value}" for key, value in selector_labels(service).items())


def engine_config_map_name(service: LLMService) -> str:
    return f"{service.name}-engine"


def alerts_config_map_name(service: LLMService) -> str:
    return f"{service.name}-alerts"


def endpoint(service: LLMService) -> str:
    """URL of the OpenAI API inside the cluster."""
    return f"http://{service.name}.{service.namespace}.svc/v1"


def manifest(
    service: LLMService,
    *,
    kind: ObjectKind,
    body: Mapping[str, Any],
    name: str | None = None,
    labelled: Mapping[str, str] | None = None,
) -> Manifest:
    """A child with the service's name (or `name`), labels (or `labelled`) and owner reference."""
    metadata: dict[str, Any] = {
        "name": name or service.name,
        "namespace": service.namespace,
        "labels": dict(labelled or labels(service)),
    }
    if service.metadata.uid:
        # blockOwnerDeletion is left out: it needs the right to update finalizers of the service.
        metadata["ownerReferences"] = [
            {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "name": service.name,
                "uid": service.metadata.uid,
                "controller": True,
            }
        ]
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, **body}
