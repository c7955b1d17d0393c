"""Checks what an LLMService may ask for on this cluster, beyond the schema: the administrator's switches, sizes. Pure.

The API server cannot measure an object without a schema, and does not know the chart's values. So the operator checks
both here, before it renders a pod.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from andante.api.v1alpha1 import LLMService
from andante.api.v1alpha1.pod_template import MOST_CHARACTERS
from andante.app.settings import OperatorSettings

POD_TEMPLATE = "spec.engine.podTemplate"


class PodTemplateError(ValueError):
    """The pods of a service cannot be made as the spec asks. `field`: the path. `problem`: why, and what to do instead.

    `reason` is the condition's reason: the patch itself is wrong, or the administrator does not allow it.
    """

    def __init__(self, field: str, problem: str, *, reason: str = "PodTemplateRefused") -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem
        self.reason = reason


def check_permitted(service: LLMService, *, settings: OperatorSettings) -> None:
    """Raises PodTemplateError for the first field that is switched off here, or too large."""
    engine, source = service.spec.engine, service.spec.model.source
    if engine.pod_template is not None:
        if not settings.allow_pod_template:
            raise PodTemplateError(
                POD_TEMPLATE,
                "the chart value allowPodTemplate is false, so that no service patches its pods; remove the field, or"
                " ask an administrator to allow it or to set the chart's enginePodTemplate",
                reason="NotAllowed",
            )
        patch = engine.pod_template
        _check_size(POD_TEMPLATE, {"metadata": patch.metadata, "spec": patch.spec})
    if engine.affinity is not None:
        _check_size("spec.engine.affinity", engine.affinity)
    if source.host_path is not None and not settings.allow_host_path:
        raise host_path_refused("spec.model.source.hostPath")


def host_path_refused(field: str) -> PodTemplateError:
    """The error of a field that mounts a folder of the node where that is switched off."""
    return PodTemplateError(
        field,
        "the chart value allowHostPath is false, so that no service reads files of a node; use a persistent volume"
        " claim (pvc) or an image, or ask an administrator to allow it",
        reason="NotAllowed",
    )


def _check_size(field: str, value: Mapping[str, Any]) -> None:
    size = len(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    if size > MOST_CHARACTERS:
        raise PodTemplateError(
            field,
            f"has {size} characters of JSON, {MOST_CHARACTERS} are allowed; keep long texts in a ConfigMap",
            reason="NotAllowed",
        )
