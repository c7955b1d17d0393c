"""The Kubernetes API through the dynamic client: each method is one call, each error one of ports' four."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import kubernetes
import urllib3
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import ResourceNotFoundError

from andante.api.v1alpha1 import API_VERSION, KIND
from andante.app.children import FIELD_MANAGER
from andante.ports import Clock, NotFoundError, Object, RefusedError, UnavailableError

CALL_TIMEOUT_SECONDS = 20
API_VERSIONS: Mapping[str, str] = {
    KIND: API_VERSION,
    "Deployment": "apps/v1",
    "Service": "v1",
    "ConfigMap": "v1",
    "ServiceAccount": "v1",
    "Pod": "v1",
    "PodDisruptionBudget": "policy/v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "PodMonitor": "monitoring.coreos.com/v1",
}


class KubernetesCluster:
    """The cluster of `api_client`; `api_calls` counts what was sent, by verb."""

    def __init__(self, api_client: kubernetes.client.ApiClient, *, clock: Clock) -> None:
        self._core = kubernetes.client.CoreV1Api(api_client)
        self._dynamic = DynamicClient(api_client)
        self._clock = clock
        self.api_calls = 0

    def read(self, *, kind: str, namespace: str, name: str) -> Object:
        """The object. Raises as ports.Cluster says."""
        return self._call(self._resource(kind).get, name=name, namespace=namespace)

    def apply(self, manifest: Object) -> Object:
        """Server-side apply; fields of ours that somebody edited are taken back, all others are left alone."""
        metadata = manifest["metadata"]
        return self._call(
            self._resource(manifest["kind"]).server_side_apply,
            body=dict(manifest),
            name=metadata["name"],
            namespace=metadata["namespace"],
            field_manager=FIELD_MANAGER,
            force_conflicts=True,
        )

    def delete(self, *, kind: str, namespace: str, name: str, uid: str) -> None:
        """Delete exactly the object with this uid."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        try:
            self._call(self._resource(kind).delete, name=name, namespace=namespace, body=body)
        except NotFoundError:
            return

    def patch_status(self, *, namespace: str, name: str, status: Object) -> Object:
        """Merge-patch the status subresource."""
        return self._call(
            self._resource(KIND).status.patch,
            body={"metadata": {"name": name, "namespace": namespace}, "status": dict(status)},
            name=name,
            namespace=namespace,
            content_type="application/merge-patch+json",
            field_manager=FIELD_MANAGER,
        )

    def annotate_pod(self, *, namespace: str, name: str, annotations: Mapping[str, str]) -> None:
        """Set annotations of a pod."""
        self._call(
            self._resource("Pod").patch,
            body={"metadata": {"annotations": dict(annotations)}},
            name=name,
            namespace=namespace,
            content_type="application/merge-patch+json",
            field_manager=FIELD_MANAGER,
        )

    def last_log_lines(self, *, namespace: str, pod: str, container: str, lines: int) -> str:
        """The newest log lines of the container's previous run."""
        self.api_calls += 1
        try:
            text: str = self._core.read_namespaced_pod_log(
                pod,
                namespace,
                container=container,
                previous=True,
                tail_lines=lines,
                limit_bytes=4096,
                _request_timeout=CALL_TIMEOUT_SECONDS,
            )
        except (ApiException, urllib3.exceptions.HTTPError) as error:
            raise _translated(error) from error
        return text

    def emit(self, *, about: Object, kind: str, reason: str, message: str) -> None:
        """An Event about an object."""
        metadata = about["metadata"]
        at = datetime.fromtimestamp(self._clock.now(), tz=UTC)
        event = {
            "metadata": {"generateName": f"{metadata['name'][:40]}.", "namespace": metadata["namespace"]},
            "involvedObject": {
                "apiVersion": about["apiVersion"],
                "kind": about["kind"],
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata["uid"],
            },
            "type": kind,
            "reason": reason,
            "message": message[:1000],
            "source": {"component": "andante-operator"},
            "firstTimestamp": at.isoformat(),
            "lastTimestamp": at.isoformat(),
            "count": 1,
        }
        self.api_calls += 1
        try:
            self._core.create_namespaced_event(metadata["namespace"], event, _request_timeout=CALL_TIMEOUT_SECONDS)
        except (ApiException, urllib3.exceptions.HTTPError) as error:
            raise _translated(error) from error

    def _resource(self, kind: str) -> Any:
        try:
            return self._dynamic.resources.get(api_version=API_VERSIONS[kind], kind=kind)
        except ResourceNotFoundError as error:
            raise RefusedError(f"the cluster has no {API_VERSIONS[kind]} {kind}") from error
        except (ApiException, urllib3.exceptions.HTTPError) as error:
            raise _translated(error) from error

    def _call(self, method: Any, **arguments: Any) -> Object:
        self.api_calls += 1
        try:
            found: dict[str, Any] = method(**arguments, _request_timeout=CALL_TIMEOUT_SECONDS).to_dict()
        except (ApiException, urllib3.exceptions.HTTPError) as error:
            raise _translated(error) from error
        return found


def _translated(error: Exception) -> Exception:
    if not isinstance(error, ApiException):
        return UnavailableError(f"the API server did not answer: {error}")
    message = _message(error)
    if error.status == 404:
        return NotFoundError(message)
    if error.status in (400, 403, 405, 409, 413, 422):
        # 409 with a uid precondition or an old resourceVersion is settled by the next reconcile.
        return UnavailableError(message) if error.status == 409 else RefusedError(message)
    return UnavailableError(f"HTTP {error.status}: {message}")


def _message(error: ApiException) -> str:
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.reason)
