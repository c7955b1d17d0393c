"""The Deployment: the generated pod, the operator-wide patch over it, the service's own patch over that."""

from __future__ import annotations

import math
from typing import Any

from andante.app.children.names import Manifest, RenderInput, manifest, selector_labels
from andante.app.children.permitted import check_permitted
from andante.app.children.pod import pod_template, termination_grace_period_seconds
from andante.app.children.pod_patch import patch_pod_template
from andante.app.kinds import DEPLOYMENT

REVISION_HISTORY_LIMIT = 3


def deployment(given: RenderInput) -> Manifest:
    """Raises PodTemplateError where a patch touches what the operator owns, or asks for what the cluster forbids."""
    service, settings, replicas = given.service, given.settings, given.replicas
    check_permitted(service, settings=settings)
    rollout = service.spec.rollout
    spec: dict[str, Any] = {
        "selector": {"matchLabels": selector_labels(service)},
        "revisionHistoryLimit": REVISION_HISTORY_LIMIT,
        # Progress stops when neither a start nor a drain can explain the wait any longer.
        "progressDeadlineSeconds": math.ceil(rollout.startup_timeout) + termination_grace_period_seconds(service),
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": rollout.max_surge, "maxUnavailable": rollout.max_unavailable},
        },
        "template": patch_pod_template(
            pod_template(service, settings=settings),
            operator_patch=settings.engine_pod_template,
            service_patch=service.spec.engine.pod_template,
            allow_host_path=settings.allow_host_path,
        ),
    }
    if replicas is not None:
        spec["replicas"] = replicas
    return manifest(service, kind=DEPLOYMENT, body={"spec": spec})
