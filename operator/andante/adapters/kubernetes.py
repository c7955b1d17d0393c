"""Calls the Kubernetes API: each method is one call, each error one of the four in ports. Objects are plain JSON."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import kubernetes
import urllib3

from andante.adapters.told_events import Told, ToldEvents
from andante.api.v1alpha1 import KIND
from andante.app.children import FIELD_MANAGER, KINDS, SERVICE_LABEL
from andante.app.slim import belongs, slim
from andante.ports import Clock, ConflictError, NotFoundError, Object, RefusedError, UnavailableError

CALL_TIMEOUT_SECONDS = 20
LOG_TIMEOUT_SECONDS = 3
LEASE = "Lease"
RESOURCES: Mapping[str, tuple[str, str]] = {
    **{name: (kind.api_version, kind.plural) for name, kind in KINDS.items()},
    "Event": ("v1", "events"),
    LEASE: ("coordination.k8s.io/v1", "leases"),
}
"""Kind -> (API version, plural). No discovery: the operator has rights to these kinds only."""

JSON = "application/json"
PARTIAL = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
PARTIAL_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
PAGE = 200
"""Objects of one answer to a list."""
MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"  # JSON is YAML


class KubernetesCluster:
    """The cluster of `api_client`. `on_call` gets (verb, kind) of every call that is sent."""

    def __init__(
        self,
        api_client: kubernetes.client.ApiClient,
        *,
        clock: Clock,
        on_call: Callable[[str, str], None] = lambda verb, kind: None,
    ) -> None:
        self.may_write_for: Callable[[], float] = lambda: math.inf
        """Seconds for which this operator may still write. The Lease guard sets this function."""
        # Use the client's own transport, which knows the CA, client certificates and proxies. The client's generated
        # methods would turn every object into classes and back.
        self._pool: urllib3.PoolManager = api_client.rest_client.pool_manager
        self._configuration = api_client.configuration
        self._clock = clock
        self._on_call = on_call
        self._unanswered = 0
        self._events = ToldEvents()

    @property
    def unanswered(self) -> int:
        """The number of calls so far that got no answer at all."""
        return self._unanswered

    def read(self, *, kind: str, namespace: str, name: str) -> Object:
        """The object. Raises as ports.Cluster says."""
        if kind == KIND:
            # By a list of one: the operator lists and watches services, and has no right to `get` them.
            query = [("fieldSelector", f"metadata.name={name}")]
            for found in self._call("GET", "list", kind, _path(kind, namespace), query=query)["items"]:
                return self._object(kind, found)
            raise NotFoundError(f"there is no {kind} {namespace}/{name}")
        return self._object(kind, self._call("GET", "get", kind, _path(kind, namespace, name)))

    def list(self, kind: str, *, namespace: str | None = None) -> tuple[Sequence[Object], int]:
        """All services, or all children and pods that carry our label; and the list's version."""
        query = [("limit", str(PAGE))] + ([] if kind == KIND else [("labelSelector", SERVICE_LABEL)])
        accept = PARTIAL_LIST if KINDS[kind].metadata_only else JSON
        objects: list[Object] = []
        token, version = "", 0
        while True:
            more = [("continue", token)] if token else []
            page = self._call("GET", "list", kind, _path(kind, namespace), query=[*query, *more], accept=accept)
            # Hold one full page at a time: drop objects without a service at once, and unread fields of the others.
            for item in page["items"] or ():  # null in an empty list of metadata
                obj = self._object(kind, item)
                if belongs(obj):
                    objects.append(slim(obj, partial=KINDS[kind].metadata_only))
            version = version or int(page["metadata"]["resourceVersion"])
            token = page["metadata"].get("continue") or ""
            if not token:
                return objects, version

    def may_list(self, kind: str) -> None:
        """Check that this operator may list the kind in all namespaces. Raises as ports.Cluster says."""
        self._call("GET", "list", kind, _path(kind, None), query=[("limit", "1")])

    def serves(self, kind: str) -> bool:
        """Whether the cluster knows the kind."""
        version, plural = RESOURCES[kind]
        try:
            found = self._call("GET", "discover", kind, f"/apis/{version}")
        except NotFoundError:
            return False
        return any(resource.get("name") == plural for resource in found.get("resources") or ())

    def apply(self, manifest: Object) -> Object:
        """Server-side apply: takes our fields back from other field managers, and leaves all other fields alone."""
        kind, metadata = manifest["kind"], manifest["metadata"]
        return self._call(
            "PATCH",
            "apply",
            kind,
            _path(kind, metadata["namespace"], metadata["name"]),
            query=[("fieldManager", FIELD_MANAGER), ("force", "true")],
            body=manifest,
            content_type=APPLY_PATCH,
        )

    def delete(self, *, kind: str, namespace: str, name: str, uid: str) -> None:
        """Delete exactly the object with this uid."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        try:
            self._call("DELETE", "delete", kind, _path(kind, namespace, name), body=body)
        except NotFoundError:
            return

    def patch_status(self, service: Object, status: Object) -> Object:
        """Merge-patch the status subresource of exactly this version of the service."""
        metadata = service["metadata"]
        path = f"{_path(KIND, metadata['namespace'], metadata['name'])}/status"
        body = {"metadata": {"resourceVersion": metadata["resourceVersion"]}, "status": status}
        return self._patch(KIND, path, body, verb="patch-status")

    def set_replicas(self, deployment: Object, replicas: int) -> Object:
        """Merge-patch spec.replicas of this Deployment."""
        metadata = deployment["metadata"]
        path = _path("Deployment", metadata["namespace"], metadata["name"])
        body = {"metadata": {"uid": metadata["uid"]}, "spec": {"replicas": replicas}}
        return self._object("Deployment", self._patch("Deployment", path, body, verb="set-replicas"))

    def annotate_pod(self, *, namespace: str, name: str, annotations: Mapping[str, str]) -> None:
        """Set annotations of a pod."""
        self._patch("Pod", _path("Pod", namespace, name), {"metadata": {"annotations": annotations}}, verb="annotate")

    def last_log_lines(self, *, namespace: str, pod: str, container: str, lines: int) -> str:
        """The newest log lines of the container's previous run."""
        query = [("container", container), ("previous", "true"), ("tailLines", str(lines)), ("limitBytes", "4096")]
        path = f"{_path('Pod', namespace, pod)}/log"
        answer = self._send("GET", "log", "Pod", path, query=query, accept="*/*", timeout_seconds=LOG_TIMEOUT_SECONDS)
        return answer.decode("utf-8", "replace")

    def emit(self, *, about: Object, kind: str, reason: str, message: str, series: str = "") -> None:
        """Write an Event about an object, or count it in the one that this process wrote before."""
        metadata, message = about["metadata"], message[:1000]
        namespace, key = metadata["namespace"], (str(metadata["uid"]), reason, series)
        at = datetime.fromtimestamp(self._clock.now(), tz=UTC).isoformat()
        told = self._events.find(key)
        if told is not None:
            again = {"count": told.count + 1, "lastTimestamp": at, "message": message}
            with contextlib.suppress(NotFoundError):  # the API server forgets an Event after an hour
                self._patch("Event", _path("Event", namespace, told.name), again, verb="count")
                self._events.keep(key, Told(name=told.name, count=told.count + 1))
                return
        event = {
            "metadata": {"generateName": f"{metadata['name'][:40]}.", "namespace": namespace},
            "involvedObject": {
                "apiVersion": about["apiVersion"],
                "kind": about["kind"],
                "name": metadata["name"],
                "namespace": namespace,
                "uid": metadata["uid"],
            },
            "type": kind,
            "reason": reason,
            "message": message,
            "source": {"component": "andante-operator"},
            "firstTimestamp": at,
            "lastTimestamp": at,
            "count": 1,
        }
        made = self._call("POST", "create", "Event", _path("Event", namespace), body=event)
        self._events.keep(key, Told(name=str(made["metadata"]["name"]), count=1))

    def create(self, manifest: Object) -> Object:
        """Create an object. Raises ConflictError where an object of this name exists."""
        kind = manifest["kind"]
        return self._call("POST", "create", kind, _path(kind, manifest["metadata"]["namespace"]), body=manifest)

    def update(self, manifest: Object) -> Object:
        """Replace an object. Raises ConflictError when the object changed since its resourceVersion."""
        kind, metadata = manifest["kind"], manifest["metadata"]
        return self._call("PUT", "update", kind, _path(kind, metadata["namespace"], metadata["name"]), body=manifest)

    def _patch(self, kind: str, path: str, body: Object, *, verb: str) -> Object:
        query = [("fieldManager", FIELD_MANAGER)]
        return self._call("PATCH", verb, kind, path, query=query, body=body, content_type=MERGE_PATCH)

    def _object(self, kind: str, found: Object) -> Object:
        # Items of a list carry no kind of their own.
        return {**found, "apiVersion": RESOURCES[kind][0], "kind": kind}

    def _call(
        self,
        method: str,
        verb: str,
        kind: str,
        path: str,
        *,
        query: Sequence[tuple[str, str]] = (),
        body: Object | None = None,
        content_type: str = JSON,
        accept: str = JSON,
    ) -> dict[str, Any]:
        answer = self._send(method, verb, kind, path, query=query, body=body, content_type=content_type, accept=accept)
        try:
            found: dict[str, Any] = json.loads(answer)
        except ValueError as error:
            raise UnavailableError(f"the API server's answer is not JSON: {error}") from error
        return found

    def _send(
        self,
        method: str,
        verb: str,
        kind: str,
        path: str,
        *,
        query: Sequence[tuple[str, str]] = (),
        body: Object | None = None,
        content_type: str = JSON,
        accept: str = JSON,
        timeout_seconds: float = CALL_TIMEOUT_SECONDS,
    ) -> bytes:
        self._on_call(verb, kind)
        if method != "GET" and kind != LEASE:
            # A write must be answered, or abandoned, before another operator may start to work.
            timeout_seconds = min(timeout_seconds, self.may_write_for())
            if timeout_seconds <= 0:
                raise UnavailableError("the operator's Lease was not renewed in time: nothing is written until it is")
        try:
            response = self._pool.request(
                method,
                f"{self._configuration.host}{path}{'?' if query else ''}{urlencode(query)}",
                body=None if body is None else json.dumps(body).encode(),
                headers={"Accept": accept, "Content-Type": content_type, **self._login()},
                timeout=timeout_seconds,
                retries=False,  # the reconcile queue retries, with its own back-off
            )
        except urllib3.exceptions.HTTPError as error:
            if verb != "log":  # a silent kubelet does not mean that the API server is unreachable
                self._unanswered += 1
            raise UnavailableError(f"the API server did not answer: {error}") from error
        if response.status >= 300:
            raise _refusal(response.status, response.data)
        return response.data

    def _login(self) -> dict[str, str]:
        """The login headers, read at every call: a pod's token is renewed every hour."""
        return {auth["key"]: auth["value"] for auth in self._configuration.auth_settings().values()}


def _path(kind: str, namespace: str | None, name: str | None = None) -> str:
    version, plural = RESOURCES[kind]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    within = root if namespace is None else f"{root}/namespaces/{namespace}"
    return f"{within}/{plural}" if name is None else f"{within}/{plural}/{name}"


def _refusal(status: int, answer: bytes) -> Exception:
    try:
        message = str(json.loads(answer)["message"])
    except (TypeError, ValueError, KeyError):
        message = f"HTTP {status}"
    if status == 404:
        return NotFoundError(message)
    if status == 409:
        return ConflictError(message)
    if status in (400, 403, 405, 413, 415, 422):
        return RefusedError(message)
    return UnavailableError(f"HTTP {status}: {message}")
