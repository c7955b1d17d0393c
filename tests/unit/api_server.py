"""A small API server for tests of the command line: it answers reads of one group of objects, and refuses the rest."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

from small_server import serving

Object = dict[str, Any]
KIND_ROOT = "/apis/andante.dev/v1alpha1"
LEASES = "/apis/coordination.k8s.io/v1/leases"


NOW = datetime(2031, 5, 6, 3, 0, tzinfo=UTC)
"""The server's clock."""


def ago(seconds: float) -> str:
    """A timestamp of the API, so long before now by the server's clock."""
    return (NOW - timedelta(seconds=seconds)).isoformat()


def lease(
    renewed: float, namespace: str = "ops", *, holder: str = "", owned: bool = False, written: float | None = None
) -> Object:
    """An operator's Lease, renewed so many seconds ago. written: when the API server says that it was."""
    metadata: Object = {"name": "andante-operator", "namespace": namespace}
    if owned:
        metadata["ownerReferences"] = [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "andante-operator"}]
    if written is not None:
        fields = {"f:spec": {"f:renewTime": {}}}
        labels = {"f:metadata": {"f:labels": {}}}
        metadata["managedFields"] = [
            {"manager": "andante", "time": ago(written), "fieldsV1": fields},
            {"manager": "kubectl", "time": ago(1), "fieldsV1": labels},
        ]
    spec = {"renewTime": ago(renewed), "leaseDurationSeconds": 20, "holderIdentity": holder}
    return {"metadata": metadata, "spec": spec}


def condition(kind: str, status: str, reason: str, message: str = "because", since: float = 720.0) -> Object:
    """A condition of a service."""
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": ago(since)}


def service(name: str = "chat", namespace: str = "team", *, status: Object | None = None, **spec: Any) -> Object:
    """An LLMService as the API server gives it."""
    return {
        "metadata": {"name": name, "namespace": namespace, "uid": f"uid-{name}"},
        "spec": {"model": {"id": "org/model"}, "scaling": {"maxReplicas": 4}, **spec},
        "status": status or {},
    }


@contextmanager
def api_server(
    tmp_path: Path,
    *,
    services: Sequence[Object] = (),
    others: Mapping[str, Sequence[Object]] | None = None,
    refused: Sequence[str] = (),
    has_kind: bool = True,
    status: int | None = None,
) -> Iterator[Path]:
    """Yields a kubeconfig. others: lists by path. refused: paths that are forbidden. status: of each answer."""
    lists = {LEASES: [lease(3.0)], **(others or {})}

    def answer(target: str) -> tuple[int, str, bytes]:
        path = unquote(urlsplit(target).path)
        code, found = _read(path)
        return code, "application/json", json.dumps(found).encode()

    def _read(path: str) -> tuple[int, Object]:
        if status is not None:
            return status, {"message": "no"}
        if path in refused:
            return 403, {"message": "forbidden"}
        if path.startswith(KIND_ROOT) and not has_kind:
            return 404, {"message": "the server could not find the requested resource"}
        if path == KIND_ROOT:
            return 200, {"resources": []}
        for one in services:
            metadata = one["metadata"]
            if path == f"{KIND_ROOT}/namespaces/{metadata['namespace']}/llmservices/{metadata['name']}":
                return 200, one
        if path == f"{KIND_ROOT}/llmservices":
            return 200, {"items": list(services)}
        if path.startswith(f"{KIND_ROOT}/namespaces/") and path.endswith("/llmservices"):
            namespace = path.split("/")[5]
            return 200, {"items": [s for s in services if s["metadata"]["namespace"] == namespace]}
        if path in lists:
            return 200, {"items": list(lists[path])}
        if path.endswith(("/events", "/pods")):
            return 200, {"items": []}
        return 404, {"message": "not found"}

    with serving(answer, now=NOW.timestamp()) as port:
        kubeconfig = tmp_path / "kubeconfig"
        names = {"name": "here"}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "clusters": [{**names, "cluster": {"server": f"http://127.0.0.1:{port}"}}],
            "users": [{**names, "user": {"token": "t"}}],
            "contexts": [{**names, "context": {"cluster": "here", "user": "here", "namespace": "team"}}],
        }
        kubeconfig.write_text(yaml.safe_dump(content))
        yield kubeconfig
