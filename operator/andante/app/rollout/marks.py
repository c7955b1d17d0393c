"""Marks a Deployment with digests of its last pods, to find out whose change replaces the pods. Pure."""

from __future__ import annotations

from typing import Any, Final

from andante.api.v1alpha1 import LLMService
from andante.app.children import Manifest
from andante.app.reconcile.child_plan import digest, said
from andante.ports import Object

TEMPLATE_HASH: Final = "andante.dev/template-hash"
"""Digest of the applied pod template. The template itself cannot be compared: the API server rewrites some values."""
SPEC_HASH: Final = "andante.dev/engine-spec-hash"
"""Digest of the parts of the spec that the engines read, at the time of the apply."""
_NOT_OF_ENGINES: Final = {"scaling", "replicas", "monitoring", "network_policy"}
"""Parts of the spec that no engine reads."""


def with_marks(deployment: Manifest, service: LLMService) -> Manifest:
    """The Deployment with both marks. They are annotations of the Deployment, not of its pods: no pod is replaced."""
    metadata = deployment["metadata"]
    marks = {TEMPLATE_HASH: digest(deployment["spec"]["template"]), SPEC_HASH: _spec_hash(service)}
    return {**deployment, "metadata": {**metadata, "annotations": {**(metadata.get("annotations") or {}), **marks}}}


def alters_pods(live: Object, wanted: Manifest) -> bool:
    """Whether `wanted` (with marks) has another pod template than the one that we applied last."""
    mark = _marks(live).get(TEMPLATE_HASH)
    if mark is not None:
        return bool(mark != _marks(wanted)[TEMPLATE_HASH])
    template = wanted["spec"]["template"]
    return bool(said(live["spec"].get("template"), template) != template)


def is_authors_change(live: Object, wanted: Manifest, service: LLMService) -> bool:
    """Whether the author of the service changed the engines in the spec since our last apply.

    Digest and generation must both differ: a newer operator may read more fields of the same spec, and a changed spec
    may leave the engines unchanged.
    """
    mark = _marks(live).get(SPEC_HASH)
    newer = service.status.observed_generation != service.metadata.generation
    return newer and mark != _marks(wanted)[SPEC_HASH]


def _spec_hash(service: LLMService) -> str:
    return digest(service.spec.model_dump(mode="json", exclude=_NOT_OF_ENGINES, exclude_none=True))


def _marks(obj: Object) -> dict[str, Any]:
    return obj["metadata"].get("annotations") or {}
