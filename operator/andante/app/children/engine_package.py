"""Brings Andante's engine package into an engine pod: an init container copies it, or the engine image contains it.

The package is pure Python and small, so any image with vLLM works: no engine image has to be built or published.
"""

from __future__ import annotations

from typing import Any, Final

from andante.api.v1alpha1 import LLMService
from andante.api.v1alpha1.pod_template import PACKAGE_CONTAINER, PACKAGE_VOLUME
from andante.app.settings import OperatorSettings
from andante.engine_package import ENTRY_FILE

PACKAGE_MOUNT: Final = "/opt/andante"
"""Where the engine container finds the package; read-only there."""
COPY_MOUNT: Final = "/package"
"""The same volume in the init container. The path differs, as /opt/andante of the operator's image holds its Python."""

RESTRICTED: Final[dict[str, Any]] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
"""The fields that the Pod Security level `restricted` requires, and a read-only root file system."""


def is_copied(service: LLMService, *, settings: OperatorSettings) -> bool:
    """Whether the package is copied from the operator's image; otherwise the engine image contains it."""
    return (service.spec.engine.package_from or settings.engine_package_from) == "Operator"


def command(*, copied: bool) -> list[str]:
    """The command that starts the engine; the engine's arguments follow."""
    return ["python3", f"{PACKAGE_MOUNT}/{ENTRY_FILE}"] if copied else ["andante-engine"]


def volume() -> dict[str, Any]:
    """The volume that holds the package for the life of the pod."""
    return {"name": PACKAGE_VOLUME, "emptyDir": {"sizeLimit": "64Mi"}}


def mount() -> dict[str, Any]:
    """The mount of the package in the engine container."""
    return {"name": PACKAGE_VOLUME, "mountPath": PACKAGE_MOUNT, "readOnly": True}


def init_container(*, settings: OperatorSettings) -> dict[str, Any]:
    """The init container that copies the package out of the operator's image."""
    return {
        "name": PACKAGE_CONTAINER,
        "image": settings.operator_image,
        "imagePullPolicy": settings.operator_image_pull_policy,
        "command": ["python", "-m", "andante.engine_package", COPY_MOUNT],
        # Set limits too: a namespace with a quota on limits refuses pods without limits.
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
        "volumeMounts": [{"name": PACKAGE_VOLUME, "mountPath": COPY_MOUNT}],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": RESTRICTED,
    }
