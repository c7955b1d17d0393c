"""Reduces objects to the fields that the operator reads, and drops objects that belong to no service.

Anybody who may create objects can give them our label, at any size. So an object that no LLMService owns is not kept at
all. Of an object that is watched by metadata, only the fields that identify its version are kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from andante.api.v1alpha1 import KIND
from andante.api.v1alpha1.pod_template import OWNED_PREFIX
from andante.app.children import SERVICE_LABEL
from andante.app.kinds import DEPLOYMENT, POD
from andante.app.pods import DELETION_COST, TEMPLATE_HASH
from andante.ports import Object

_METADATA = (
    "name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "labels",
    "annotations", "ownerReferences",
)  # fmt: skip
_POD_METADATA = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp", "deletionTimestamp")
_POD_LABELS = (SERVICE_LABEL, TEMPLATE_HASH)
_SHARED_PARTS, _LONGEST_SHARED = 4_096, 2_000
"""Number of parts of pods and Deployments that are stored once for all with an equal part, and their largest size in
characters: replicas of one service differ little, and so do the containers of all services.
"""
_MOST_MESSAGE = 1024
"""Characters of a condition's or container's message; a longer one is cut."""


class _Slim(dict[str, Any]):
    """An object that is already reduced."""


def belongs(obj: Object) -> bool:
    """Whether an object is a service, or may be part of one: owned by an LLMService, or a pod of a ReplicaSet."""
    if obj["kind"] == KIND:
        return True
    owner = "ReplicaSet" if obj["kind"] == POD.kind else KIND
    return any(o.get("kind") == owner for o in obj["metadata"].get("ownerReferences") or ())


def is_partial(obj: Object) -> bool:
    """Whether only the metadata of the object is known."""
    return obj.get("partial") is True


def slim(obj: Object, *, partial: bool = False) -> Object:
    """`obj` without the fields that the operator never reads; `partial`: only its metadata is known."""
    return obj if isinstance(obj, _Slim) else _Slim(_slim(obj, partial=partial))


def _slim(obj: Object, *, partial: bool) -> dict[str, Any]:
    kind = obj["kind"]
    if kind == KIND:
        return {**obj, "metadata": _without_managers(obj["metadata"])}
    if partial:
        return {"kind": kind, "apiVersion": obj.get("apiVersion"), "metadata": _few(obj["metadata"]), "partial": True}
    if kind == POD.kind:
        return {
            "kind": kind,
            "metadata": _pod_metadata(obj["metadata"]),
            "spec": _shared(_pod_spec(obj.get("spec") or {})),
            "status": _pod_status(obj.get("status") or {}),
        }
    if kind == DEPLOYMENT.kind:
        metadata = _without_managers(obj["metadata"])
        managers = _of_replicas(obj["metadata"])
        metadata = {**metadata, "managedFields": managers} if managers else metadata
        return {**obj, "metadata": metadata, "spec": _deployment_spec(obj.get("spec") or {})}
    return {**obj, "metadata": _without_managers(obj["metadata"])}


def _without_managers(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metadata.items() if name != "managedFields"}


def _of_replicas(metadata: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The field managers of the Deployment's replicas: no other field manager is ever read."""
    return [
        {
            "manager": entry.get("manager"),
            "operation": entry.get("operation"),
            "fieldsV1": {"f:spec": {"f:replicas": {}}},
        }
        for entry in metadata.get("managedFields") or ()
        if "f:replicas" in ((entry.get("fieldsV1") or {}).get("f:spec") or {})
    ]


def _few(metadata: Mapping[str, Any]) -> dict[str, Any]:
    kept = _named(metadata, *_METADATA)
    annotations = metadata.get("annotations") or {}
    kept["annotations"] = {name: value for name, value in annotations.items() if name.startswith(OWNED_PREFIX)}
    return kept


def _deployment_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The whole spec; what the containers of most services have in common is stored once."""
    template = spec.get("template") or {}
    pod = dict(template.get("spec") or {})
    for kind in ("initContainers", "containers"):
        if pod.get(kind):
            pod[kind] = [{name: _shared(part) for name, part in container.items()} for container in pod[kind]]
    return {**spec, "template": {**template, "spec": pod}} if template else dict(spec)


def _pod_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    owners = [_named(owner, "kind", "name", "controller") for owner in metadata.get("ownerReferences") or ()]
    return {
        **_named(metadata, *_POD_METADATA),
        "labels": _shared(_named(metadata.get("labels") or {}, *_POD_LABELS)),
        "annotations": _shared(_named(metadata.get("annotations") or {}, DELETION_COST)),
        "ownerReferences": _shared(owners),
    }


def _pod_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: spec[name] for name in ("nodeName", "hostNetwork") if name in spec}
    kept["containers"] = [
        {name: container[name] for name in ("name", "resources") if name in container}
        for container in spec.get("containers") or ()
    ]
    return kept


def _pod_status(status: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: status[name] for name in ("phase", "podIP") if name in status}
    conditions = [
        {**_named(condition, "type", "status", "reason"), **_message(condition)}
        for condition in status.get("conditions") or ()
    ]
    kept["conditions"] = _shared(conditions)
    for containers in ("initContainerStatuses", "containerStatuses"):
        if status.get(containers):
            kept[containers] = _shared([_container(container) for container in status[containers]])
    return kept


def _container(status: Mapping[str, Any]) -> dict[str, Any]:
    kept = _named(status, "name", "image", "ready", "started", "restartCount")
    for when in ("state", "lastState"):
        if status.get(when):
            kept[when] = {
                what: {**_named(state or {}, "reason", "exitCode"), **_message(state or {}, end=True)}
                for what, state in status[when].items()
            }
    return kept


def _named(of: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: of[name] for name in names if name in of}


def _message(of: Mapping[str, Any], *, end: bool = False) -> dict[str, str]:
    """The first part of a condition's message; with `end`, the last part of a container's message."""
    message = str(of.get("message") or "")
    if not message:
        return {}
    return {"message": message[-_MOST_MESSAGE:] if end else message[:_MOST_MESSAGE]}


def _shared(part: Any) -> Any:
    """`part`, or an equal stored part of another object."""
    text = json.dumps(part)
    return _known(text) if len(text) <= _LONGEST_SHARED else part


@lru_cache(maxsize=_SHARED_PARTS)
def _known(text: str) -> Any:
    return json.loads(text)
