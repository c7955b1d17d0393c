"""Decides about one child: keep it, apply it, or leave it to its other owner. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from enum import Enum
from typing import Any

from andante.api.v1alpha1 import GROUP, KIND, LLMService
from andante.app.children import SERVICE_LABEL, Manifest
from andante.ports import Object

HASH_ANNOTATION = "andante.dev/applied-hash"
"""On every child: digest of the applied manifest. So a field that we no longer set is removed, even after a restart."""


class Action(Enum):
    """The action that one child needs."""

    KEEP = "keep"
    APPLY = "apply"
    REPAIR = "repair"
    """The child was as wanted, and another client changed it since."""
    NAME_TAKEN = "name taken"
    """An object of this name exists and does not belong to this service."""
    LEAVING = "leaving"
    """The child belongs to a deleted service of the same name; the garbage collector should delete it soon."""


def plan_child(live: Object | None, manifest: Manifest, service: LLMService, *, spelling: str | None) -> Action:
    """The action for a child that is `live` now and should match `manifest` (with its hash).

    spelling: digest of `said(live, manifest)` right after our last apply. The API server rewrites some values (a
    quantity of 1024Mi becomes 1Gi), so only its own earlier answer can be compared. None: not known.
    """
    if live is None:
        return Action.APPLY
    if not is_ours(live, service):
        return Action.LEAVING if _was_of_namesake(live, service) else Action.NAME_TAKEN
    if not was_applied(live, manifest):
        return Action.APPLY
    answered = said(live, manifest)
    as_it_was = answered == manifest if spelling is None else digest(answered) == spelling
    return Action.KEEP if as_it_was else Action.REPAIR


def was_applied(live: Object, manifest: Manifest) -> bool:
    """Whether `manifest` (with its hash) is what we applied last, whatever another client changed since."""
    return _hash_of(live) == _hash_of(manifest)


def with_hash(manifest: Manifest) -> Manifest:
    """The manifest with its digest as an annotation."""
    metadata = manifest["metadata"]
    annotations = {**(metadata.get("annotations") or {}), HASH_ANNOTATION: digest(manifest)}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}


def is_ours(live: Object, service: LLMService) -> bool:
    """Whether this service owns the object: by owner reference or, where the reference was removed, by our marks."""
    owners = live["metadata"].get("ownerReferences") or ()
    if is_owned(live, service.metadata.uid):
        return True
    metadata = live["metadata"]
    marked = HASH_ANNOTATION in (metadata.get("annotations") or {})
    return not owners and marked and (metadata.get("labels") or {}).get(SERVICE_LABEL) == service.name


def is_owned(live: Object, uid: str) -> bool:
    """Whether an owner reference of the object names `uid`."""
    return any(owner.get("uid") == uid for owner in live["metadata"].get("ownerReferences") or ())


def is_abandoned(live: Object, service: LLMService) -> bool:
    """Whether every owner of the object is an LLMService of this service's name that is gone.

    Of one name there is one object at a time, so an owner with this name and another uid cannot exist any more. An
    object of which no owner exists is garbage to Kubernetes, whoever made it.
    """
    owners = live["metadata"].get("ownerReferences") or ()
    return bool(owners) and all(_is_gone(owner, service) for owner in owners)


def said(live: Any, wanted: Any) -> Any:
    """The part of `live` with the fields of `wanted`; fields from other field managers are left out."""
    if isinstance(wanted, Mapping) and isinstance(live, Mapping):
        return {key: said(live.get(key), value) for key, value in wanted.items()}
    if isinstance(wanted, list | tuple) and isinstance(live, list | tuple) and len(live) == len(wanted):
        return [said(a, b) for a, b in zip(live, wanted, strict=True)]
    return live


def digest(value: Any) -> str:
    """A short fingerprint of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _hash_of(obj: Mapping[str, Any]) -> str | None:
    return (obj["metadata"].get("annotations") or {}).get(HASH_ANNOTATION)


def _was_of_namesake(live: Object, service: LLMService) -> bool:
    return any(_is_gone(owner, service) for owner in live["metadata"].get("ownerReferences") or ())


def _is_gone(owner: Mapping[str, Any], service: LLMService) -> bool:
    group = str(owner.get("apiVersion") or "").partition("/")[0]
    named = (group, owner.get("kind"), owner.get("name")) == (GROUP, KIND, service.name)
    return named and owner.get("uid") != service.metadata.uid
