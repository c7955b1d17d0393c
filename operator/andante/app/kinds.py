"""Describes a kind of objects, and lists the kinds that the operator reads itself.

The table of all kinds of children is in `andante.app.children`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from andante.api.v1alpha1 import GROUP, KIND, PLURAL, VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectKind:
    """One kind, as the API knows it."""

    kind: str
    group: str
    """API group; empty: the core API."""
    version: str
    plural: str
    crd: str = ""
    """Name of the CRD that defines the kind, where a cluster may lack the kind."""
    metadata_only: bool = False
    """Whether only metadata is watched, and the object is read when its metadata shows a change: this is rare."""
    used_by_pods: bool = False
    """Whether the Deployment's pods refer to this child. Then no pod may start while another object has its name."""
    purpose: str = ""
    """Purpose of a child, one sentence; also the comment above the operator's rights to this kind."""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def paths(self, namespaces: Sequence[str]) -> list[str]:
        """The API paths that list the kind, one for each of `namespaces`; without any, one for all namespaces."""
        root = f"/apis/{self.api_version}" if self.group else f"/api/{self.version}"
        return [f"{root}/namespaces/{name}/{self.plural}" for name in namespaces] or [f"{root}/{self.plural}"]


SERVICE: Final = ObjectKind(kind=KIND, group=GROUP, version=VERSION, plural=PLURAL)
POD: Final = ObjectKind(kind="Pod", group="", version="v1", plural="pods")
DEPLOYMENT: Final = ObjectKind(
    kind="Deployment", group="apps", version="v1", plural="deployments", purpose="The engine pods."
)
