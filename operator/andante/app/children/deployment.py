"""Makes the Deployment: the generated pod, then the operator-wide patch, then the service's own patch."""

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
    """Render the Deployment. Raises PodTemplateError where a patch changes a field that the operator owns, or asks for
    something that the cluster forbids."""
    service, settings, replicas = given.service, given.settings, given.replicas
    check_permitted(service, settings=settings)
    rollout = service.spec.rollout
    spec: dict[str, Any] = {
        "selector": {"matchLabels": selector_labels(service)},
        "revisionHistoryLimit": REVISION_HISTORY_LIMIT,
        # The deadline covers a start and a drain: a longer wait means that the rollout makes no progress.
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
