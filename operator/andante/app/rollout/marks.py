"""What a Deployment says of the pods that it was last given: enough to tell whose change alters them. Pure."""

from __future__ import annotations

from typing import Any, Final

from andante.api.v1alpha1 import LLMService
from andante.app.children import Manifest
from andante.app.reconcile.child_plan import digest, said
from andante.ports import Object

TEMPLATE_HASH: Final = "andante.dev/template-hash"
"""Digest of the pod template that was applied; the API server writes some of its values in its own way."""
SPEC_HASH: Final = "andante.dev/engine-spec-hash"
"""Digest of what the service asked of its engines then."""
_NOT_OF_ENGINES: Final = {"scaling", "replicas", "monitoring", "network_policy"}
"""Parts of the spec that no engine reads."""


def with_marks(deployment: Manifest, service: LLMService) -> Manifest:
    """The Deployment with both marks. They are its own annotations, not its pods': no pod is replaced for them."""
    metadata = deployment["metadata"]
    marks = {TEMPLATE_HASH: digest(deployment["spec"]["template"]), SPEC_HASH: _spec_hash(service)}
    return {**deployment, "metadata": {**metadata, "annotations": {**(metadata.get("annotations") or {}), **marks}}}


def alters_pods(live: Object, wanted: Manifest) -> bool:
    """Whether applying `wanted` (with marks) gives the pods another template than we gave them last."""
    mark = _marks(live).get(TEMPLATE_HASH)
    if mark is not None:
        return bool(mark != _marks(wanted)[TEMPLATE_HASH])
    template = wanted["spec"]["template"]
    return bool(said(live["spec"].get("template"), template) != template)


def is_authors_change(live: Object, wanted: Manifest, service: LLMService) -> bool:
    """Whether the author of the service asked for other engines since the operator last looked at the spec.

    Both have to differ: a newer operator reads more fields of the same spec, and a spec that changes may change nothing
    of the engines.
    """
    mark = _marks(live).get(SPEC_HASH)
    newer = service.status.observed_generation != service.metadata.generation
    return newer and mark != _marks(wanted)[SPEC_HASH]


def _spec_hash(service: LLMService) -> str:
    return digest(service.spec.model_dump(mode="json", exclude=_NOT_OF_ENGINES, exclude_none=True))


def _marks(obj: Object) -> dict[str, Any]:
    return obj["metadata"].get("annotations") or {}
