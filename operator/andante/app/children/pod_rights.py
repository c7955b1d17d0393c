"""Refuses rights in a service's patch that reach beyond its pod, to the node and to other tenants. Pure.

The API server has already refused most of these rights, and the Pod Security levels `baseline` and `restricted` refuse
all of them. This check also works in a namespace without a level. Rights from the administrator's own patch stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from andante.api.v1alpha1.pod_template import PRIVILEGED_REASON
from andante.app.children.permitted import POD_TEMPLATE, PodTemplateError, host_path_refused

BASELINE_CAPABILITIES: Final = frozenset(
    {
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP",
        "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
    }
)  # fmt: skip
"""The capabilities that the Pod Security level `baseline` lets a container add."""
_CONTAINER_LISTS: Final = ("containers", "initContainers")


def check_rights(before: Mapping[str, Any], after: Mapping[str, Any], *, allow_host_path: bool) -> None:
    """Compare pod templates `before` and `after` the service's patch. Raises PodTemplateError for a refused right."""
    spec = f"{POD_TEMPLATE}.spec"
    if not allow_host_path:
        mounted = _paths(before)
        for volume, path in _paths(after).items():
            if mounted.get(volume) != path:
                raise host_path_refused(f"{spec}.volumes[{volume}].hostPath")
    for kind in _CONTAINER_LISTS:
        rights = dict(_rights(before, kind))
        for (container, field, value), why in _rights(after, kind):
            if (container, field, value) not in rights:
                raise PodTemplateError(f"{spec}.{kind}[{container}].{field}", f"must not be {value}: {why}")


def _paths(template: Mapping[str, Any]) -> dict[str, Any]:
    volumes = _objects(_mapping(template.get("spec")).get("volumes"))
    return {str(volume.get("name")): volume["hostPath"] for volume in volumes if volume.get("hostPath") is not None}


def _rights(template: Mapping[str, Any], kind: str) -> Iterator[tuple[tuple[str, str, str], str]]:
    """Each (container, field, value) that reaches beyond the container, with the reason why Andante refuses it."""
    for container in _objects(_mapping(template.get("spec")).get(kind)):
        name, context = str(container.get("name")), _mapping(container.get("securityContext"))
        if context.get("privileged") not in (None, False):
            yield (name, "securityContext.privileged", "true"), PRIVILEGED_REASON
        added = _mapping(context.get("capabilities")).get("add")
        for capability in added if isinstance(added, list) else ():
            if str(capability).removeprefix("CAP_") not in BASELINE_CAPABILITIES:
                why = "the capability reaches beyond the container; an administrator may set it for all engines"
                yield (name, "securityContext.capabilities.add", str(capability)), why
        if context.get("procMount") not in (None, "Default"):
            yield (name, "securityContext.procMount", str(context["procMount"])), "it shows the node's kernel settings"
        for port in _objects(container.get("ports")):
            if port.get("hostPort"):
                yield (name, "ports.hostPort", str(port["hostPort"])), "it takes a port of the node; use a Service"


# A patch may have put any value anywhere. A value that is not an object counts as absent; the API server refuses it.
def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _objects(entries: Any) -> list[Mapping[str, Any]]:
    return [entry for entry in entries if isinstance(entry, Mapping)] if isinstance(entries, list) else []
