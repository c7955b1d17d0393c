"""Reads objects of a control plane for tests that wait for them, many times a second.

A kubectl takes a tenth of a second of processor time for each look: half a core for as long as a test waits.
"""

from __future__ import annotations

import ssl
from functools import cached_property
from typing import Any

import httpx
from hack.localcluster.api import ClusterError, ControlPlane

_GROUPS = {
    "api/v1": ("configmap", "event", "pod", "service", "serviceaccount"),
    "apis/apps/v1": ("deployment", "replicaset"),
    "apis/policy/v1": ("poddisruptionbudget",),
    "apis/coordination.k8s.io/v1": ("lease",),
    "apis/networking.k8s.io/v1": ("networkpolicy",),
    "apis/andante.dev/v1alpha1": ("llmservice",),
}
_PATHS = {
    kind: (root, f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s")
    for root, kinds in _GROUPS.items()
    for kind in kinds
}
_PATHS |= {plural: (root, plural) for root, plural in _PATHS.values()}


class ObjectReader:
    """Reads one namespace as cluster-admin."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self._plane, self._namespace = plane, namespace

    def knows(self, kinds: str) -> bool:
        """Whether it can read all of these kinds, separated by commas."""
        return all(kind in _PATHS for kind in kinds.split(","))

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """The object, or None. Raises ClusterError where the API server refuses or does not answer."""
        return self._read(f"{self._path(kind)}/{name}")

    def items(self, kinds: str) -> list[dict[str, Any]]:
        """The objects of these kinds, each with its kind, as `kubectl get` shows them. Raises ClusterError."""
        found: list[dict[str, Any]] = []
        for kind in kinds.split(","):
            listed = self._read(self._path(kind))
            if listed is None:
                raise ClusterError(f"the API server does not serve {kind}")
            type_of = {"apiVersion": listed["apiVersion"], "kind": listed["kind"].removesuffix("List")}
            found += [{**type_of, **item} for item in listed["items"]]
        return found

    def _path(self, kind: str) -> str:
        root, plural = _PATHS[kind]
        return f"{self._plane.server}/{root}/namespaces/{self._namespace}/{plural}"

    @cached_property
    def _trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self._plane.ca))

    def _read(self, url: str) -> dict[str, Any] | None:
        headers = {"Authorization": f"Bearer {self._plane.token}"}
        try:
            answer = httpx.get(url, headers=headers, verify=self._trust, timeout=60.0, trust_env=False)
        except httpx.HTTPError as error:
            raise ClusterError(f"GET {url}: {error!r}") from error
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        if answer.is_error:
            raise ClusterError(f"GET {url}: {answer.status_code} {answer.text}")
        found: dict[str, Any] = answer.json()
        return found
