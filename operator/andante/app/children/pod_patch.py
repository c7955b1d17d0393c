"""Applies the two pod-template patches, the operator's and the service's, and protects the fields of the operator.

The check compares results, so it covers every directive: after the service's patch the owned parts must be the same as
before. The API server has already refused most wrong patches (CEL rules of podTemplate); this check is complete.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from andante.api.v1alpha1.engine import owned_env_reason
from andante.api.v1alpha1.pod_template import (
    ENGINE_CONTAINER,
    OWNED_ANNOTATIONS,
    OWNED_CONTAINER_FIELDS,
    OWNED_LABELS,
    OWNED_POD_FIELDS,
    OWNED_PREFIX,
    OWNED_VOLUMES,
    PACKAGE_CONTAINER,
    PodTemplate,
)
from andante.app.children.permitted import POD_TEMPLATE as SERVICE_PATCH
from andante.app.children.permitted import PodTemplateError
from andante.app.children.pod_rights import check_rights
from andante.app.children.strategic_merge import PatchError, strategic_merge

OPERATOR_PATCH = "enginePodTemplate"
"""Source of the operator-wide patch: the field of operator.yaml (chart value enginePodTemplate)."""


def patch_pod_template(
    generated: Mapping[str, Any],
    *,
    operator_patch: Mapping[str, Any],
    service_patch: PodTemplate | None,
    allow_host_path: bool,
) -> dict[str, Any]:
    """The pod template with both patches applied, the service's last. Raises PodTemplateError."""
    template = _merge(generated, operator_patch, OPERATOR_PATCH)
    # The administrator may change the engine's container (host mounts, a wrapper), but not the pods' identity.
    _check_metadata(generated, template, OPERATOR_PATCH)
    _engine(template, OPERATOR_PATCH)
    if service_patch is None:
        return template
    patch = {"metadata": service_patch.metadata, "spec": service_patch.spec}
    patched = _merge(template, {name: part for name, part in patch.items() if part}, SERVICE_PATCH)
    _check_metadata(template, patched, SERVICE_PATCH)
    _check_pod(template, patched)
    _check_engine(_engine(template, SERVICE_PATCH), _engine(patched, SERVICE_PATCH))
    check_rights(template, patched, allow_host_path=allow_host_path)
    return patched


def _merge(template: Mapping[str, Any], patch: Mapping[str, Any], source: str) -> dict[str, Any]:
    unknown = set(patch) - {"metadata", "spec"}
    if unknown:
        raise PodTemplateError(f"{source}.{min(unknown)}", "a pod template has only metadata and spec")
    try:
        return strategic_merge(template, patch)
    except PatchError as error:
        raise PodTemplateError(f"{source}.{error.path}".rstrip("."), error.problem) from error


def _check_metadata(before: Mapping[str, Any], after: Mapping[str, Any], source: str) -> None:
    for kind, owned in (("labels", OWNED_LABELS), ("annotations", OWNED_ANNOTATIONS)):
        old, new = _part(_part(before, "metadata"), kind), _part(_part(after, "metadata"), kind)
        ours = {name for name in {*old, *new} if str(name).startswith(OWNED_PREFIX)}
        for name in (*owned, *sorted(ours.difference(owned))):
            if old.get(name) != new.get(name):
                raise PodTemplateError(
                    f"{source}.metadata.{kind}[{name}]",
                    f"belongs to the operator, which finds its pods by it; take another {kind[:-1]}",
                )


def _check_pod(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    for field, reason in OWNED_POD_FIELDS.items():
        if _part(before, "spec").get(field) != _part(after, "spec").get(field):
            raise PodTemplateError(f"{SERVICE_PATCH}.spec.{field}", f"must not be set: {reason}")
    for name, purpose in OWNED_VOLUMES.items():
        if _in_spec(before, "volumes", name) != _in_spec(after, "volumes", name):
            raise PodTemplateError(
                f"{SERVICE_PATCH}.spec.volumes[{name}]", f"{purpose} and belongs to the operator; take another name"
            )
    if _in_spec(before, "initContainers", PACKAGE_CONTAINER) != _in_spec(after, "initContainers", PACKAGE_CONTAINER):
        raise PodTemplateError(
            f"{SERVICE_PATCH}.spec.initContainers[{PACKAGE_CONTAINER}]",
            "copies Andante's engine package and belongs to the operator; take another name",
        )


def _check_engine(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    path = f"{SERVICE_PATCH}.spec.containers[{ENGINE_CONTAINER}]"
    for field, reason in OWNED_CONTAINER_FIELDS.items():
        if before.get(field) != after.get(field):
            raise PodTemplateError(f"{path}.{field}", f"must not be set: {reason}")
    for name in OWNED_VOLUMES:
        if _named(before.get("volumeMounts"), name) != _named(after.get("volumeMounts"), name):
            raise PodTemplateError(f"{path}.volumeMounts", f"the mount of the volume {name} must stay as it is")
    for variable in _objects(after.get("env")):
        owner = owned_env_reason(str(variable.get("name")))
        if owner is not None and variable not in _objects(before.get("env")):
            raise PodTemplateError(f"{path}.env[{variable['name']}]", f"must not be set: {owner}")


def _engine(template: Mapping[str, Any], source: str) -> Mapping[str, Any]:
    engine = _named(_part(template, "spec").get("containers"), ENGINE_CONTAINER)
    if engine is None:
        raise PodTemplateError(
            f"{source}.spec.containers", f"removes the container {ENGINE_CONTAINER}; the pods would serve nothing"
        )
    return engine


def _named(entries: Any, name: str) -> Mapping[str, Any] | None:
    return next((entry for entry in _objects(entries) if entry.get("name") == name), None)


def _in_spec(template: Mapping[str, Any], field: str, name: str) -> Mapping[str, Any] | None:
    return _named(_part(template, "spec").get(field), name)


# A patch may have put any value anywhere. A value that is not an object counts as absent; the API server refuses it.
def _part(mapping: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = mapping.get(name)
    return part if isinstance(part, Mapping) else {}


def _objects(entries: Any) -> list[Mapping[str, Any]]:
    return [entry for entry in entries if isinstance(entry, Mapping)] if isinstance(entries, list) else []
