"""The kinds of objects that belong to a service: the one table that watches, lists, writes and the chart's test read.

A new kind of child needs a line here, a function in `andante.app.children`, and its rights in the operator's chart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
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

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def paths(self, namespaces: Sequence[str]) -> list[str]:
        """Where the API server lists the kind in each of `namespaces`; in all at once where none is given."""
        root = f"/apis/{self.api_version}" if self.group else f"/api/{self.version}"
        return [f"{root}/namespaces/{name}/{self.plural}" for name in namespaces] or [f"{root}/{self.plural}"]


SERVICE: Final = ObjectKind(kind=KIND, group=GROUP, version=VERSION, plural=PLURAL)
POD: Final = ObjectKind(kind="Pod", group="", version="v1", plural="pods")
DEPLOYMENT: Final = ObjectKind(kind="Deployment", group="apps", version="v1", plural="deployments")
POD_MONITOR: Final = ObjectKind(
    kind="PodMonitor", group="monitoring.coreos.com", version="v1", plural="podmonitors",
    crd="podmonitors.monitoring.coreos.com", metadata_only=True,
)  # fmt: skip

APPLIED: Final = (
    ObjectKind(
        kind="ServiceAccount", group="", version="v1", plural="serviceaccounts", metadata_only=True, used_by_pods=True
    ),
    ObjectKind(kind="ConfigMap", group="", version="v1", plural="configmaps", metadata_only=True, used_by_pods=True),
    ObjectKind(kind="Service", group="", version="v1", plural="services", metadata_only=True),
    ObjectKind(kind="PodDisruptionBudget", group="policy", version="v1", plural="poddisruptionbudgets"),
    ObjectKind(
        kind="NetworkPolicy", group="networking.k8s.io", version="v1", plural="networkpolicies", metadata_only=True
    ),
    POD_MONITOR,
    DEPLOYMENT,
)
"""Children that the operator writes, in the order of writing: what a pod needs comes before the Deployment."""
CHILDREN: Final = (*APPLIED, POD)
"""What is watched beside the services, by `andante.dev/llmservice`; pods are the Deployment's."""
KINDS: Final[Mapping[str, ObjectKind]] = MappingProxyType({kind.kind: kind for kind in (SERVICE, *CHILDREN)})
