"""What the operator knows of a kind of objects, and the kinds that it reads itself.

The table of all kinds is that of the children, in `andante.app.children`.
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
    """Empty: the core API."""
    version: str
    plural: str
    crd: str = ""
    """Name of the CRD that brings the kind, where a cluster may lack it."""
    metadata_only: bool = False
    """Whether it is watched by its metadata, and read when they say that it has changed: it seldom does."""
    used_by_pods: bool = False
    """Whether the pods of the Deployment name such a child, and so must not start while its name is another's."""
    purpose: str = ""
    """Of a child: what it is for, as the comment over the operator's rights to it says (a sentence)."""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def paths(self, namespaces: Sequence[str]) -> list[str]:
        """Where the API server lists the kind in each of `namespaces`; in all at once where none is given."""
        root = f"/apis/{self.api_version}" if self.group else f"/api/{self.version}"
        return [f"{root}/namespaces/{name}/{self.plural}" for name in namespaces] or [f"{root}/{self.plural}"]


SERVICE: Final = ObjectKind(kind=KIND, group=GROUP, version=VERSION, plural=PLURAL)
POD: Final = ObjectKind(kind="Pod", group="", version="v1", plural="pods")
DEPLOYMENT: Final = ObjectKind(
    kind="Deployment", group="apps", version="v1", plural="deployments", purpose="The engine pods."
)
