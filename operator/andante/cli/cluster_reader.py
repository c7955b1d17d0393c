"""Reads LLMServices and what belongs to them from the API server, with the rights of the person who asks.

It only reads. Each refusal says which right is missing and what to do.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from andante.api.v1alpha1 import API_VERSION, GROUP, KIND, PLURAL
from andante.app.children import SERVICE_LABEL
from andante.cli.errors import InputError
from andante.cli.plain import plain
from andante.ports import Object

TIMEOUT_SECONDS: Final = 20.0
PAGE: Final = 500
LEASE: Final = "andante-operator"
"""Name of the operator's Lease."""
OWNER: Final = ("Deployment", "andante-operator")
"""Kind and name of the owner of the Lease of an operator in the cluster."""
_NAME: Final = re.compile(r"[a-z0-9]([-.a-z0-9]*[a-z0-9])?")
_ROOT: Final = f"/apis/{API_VERSION}"
_IN_CLUSTER: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_VIEW: Final = "ask for the ClusterRole andante-view, which the chart joins to the cluster's role view"


@dataclass(frozen=True, slots=True, kw_only=True)
class NotRead:
    """Why a part could not be read."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenService:
    """A service with what belongs to it, at one moment."""

    service: Object
    events: Sequence[Object] | NotRead
    pods: Sequence[Object] | NotRead
    leases: Sequence[Object] | NotRead
    """The operators' Leases."""
    now: float
    """Unix time, by the API server's clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenFleet:
    """All services of a namespace, or of the cluster, at one moment."""

    services: Sequence[Object]
    leases: Sequence[Object] | NotRead
    now: float


class _RefusedError(Exception):
    """The API server's answer was not what was asked for."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class ClusterReader:
    """The cluster of a kubeconfig's context; without a kubeconfig, of the pod in which the command runs."""

    def __init__(self, *, kubeconfig: Path | None, context: str | None) -> None:
        """Raises InputError where there is no cluster to ask."""
        import kubernetes  # a second of imports, which other commands do not need
        import yaml

        try:
            if kubeconfig is None and context is None and _only_in_cluster():
                configuration = kubernetes.client.Configuration()
                kubernetes.config.load_incluster_config(client_configuration=configuration)
                client, self.namespace = kubernetes.client.ApiClient(configuration), _IN_CLUSTER.read_text().strip()
            else:
                client, self.namespace = _of_kubeconfig(_files(kubeconfig), context)
        except (kubernetes.config.ConfigException, OSError) as error:
            raise InputError(
                f"no cluster to ask in {plain(_files(kubeconfig))}: {plain(error, 400).rstrip('.')}. What to do: give"
                " --kubeconfig or --context, or set KUBECONFIG; kubectl config get-contexts lists the contexts"
            ) from error
        except (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(
                f"{plain(_files(kubeconfig))} is no valid kubeconfig: {plain(error, 400).rstrip('.')}. What to do: see"
                " what `kubectl config view` says of it, or name another file with --kubeconfig"
            ) from error
        self._pool, self._configuration = client.rest_client.pool_manager, client.configuration
        self._now = datetime.now(tz=UTC)

    def service(self, namespace: str, name: str) -> SeenService:
        """One service, with what may be read of the rest. Raises InputError where it cannot be read."""
        try:
            found = self._get(f"{_ROOT}/namespaces/{_part(namespace)}/{PLURAL}/{_part(name)}")
        except _RefusedError as error:
            raise self._cannot_read(error, namespace, name) from error
        about = urlencode({"fieldSelector": f"involvedObject.kind={KIND},involvedObject.name={name}"})
        label = urlencode({"labelSelector": f"{SERVICE_LABEL}={name}"})
        core = f"/api/v1/namespaces/{_part(namespace)}"
        events = self._try(f"{core}/events?{about}", right="list events", namespace=namespace)
        pods = self._try(f"{core}/pods?{label}", right="list pods", namespace=namespace)
        return SeenService(service=found, events=events, pods=pods, leases=self._leases(), now=self._now.timestamp())

    def fleet(self, namespace: str | None) -> SeenFleet:
        """All services of a namespace; None: of the cluster. Raises InputError where they cannot be read."""
        within = _ROOT if namespace is None else f"{_ROOT}/namespaces/{_part(namespace)}"
        try:
            services = self._list(f"{within}/{PLURAL}?")
        except _RefusedError as error:
            raise self._cannot_read(error, namespace, None) from error
        return SeenFleet(services=services, leases=self._leases(), now=self._now.timestamp())

    def _leases(self) -> Sequence[Object] | NotRead:
        query = urlencode({"fieldSelector": f"metadata.name={LEASE}"})
        return self._try(f"/apis/coordination.k8s.io/v1/leases?{query}", right="list leases", namespace=None)

    def _try(self, path: str, *, right: str, namespace: str | None) -> Sequence[Object] | NotRead:
        try:
            return self._list(path)
        except _RefusedError as error:
            where = "in all namespaces" if namespace is None else f"in namespace {namespace}"
            if error.status == 403:
                return NotRead(why=f"you have no right to {right} {where}")
            return NotRead(why=f"the API server did not {right} {where}: {plain(error.message)}")

    def _list(self, path: str) -> list[Object]:
        found: list[Object] = []
        token = ""
        while True:
            more = f"&continue={quote(token)}" if token else ""
            page = self._get(f"{path}&limit={PAGE}{more}")
            found += page.get("items") or ()
            token = (page.get("metadata") or {}).get("continue") or ""
            if not token:
                return found

    def _cannot_read(self, error: _RefusedError, namespace: str | None, name: str | None) -> InputError:
        verb = "list" if name is None else "get"
        where = "in all namespaces" if namespace is None else f"in namespace {plain(namespace)}"
        if error.status == 401:
            return InputError(
                f"the cluster does not accept your login: {plain(error.message)}. What to do: log in again"
            )
        if error.status == 403:
            scope = "--all-namespaces" if namespace is None else f"--namespace {plain(namespace)}"
            return InputError(
                f"you have no right to {verb} {PLURAL}.{GROUP} {where}. What to do: {_VIEW}; kubectl auth can-i {verb}"
                f" {PLURAL}.{GROUP} {scope} says whether you have it"
            )
        if error.status != 404:
            return InputError(f"{KIND}s could not be read: {plain(error.message, 400)}")
        try:
            self._get(_ROOT)
        except _RefusedError:
            return InputError(
                f"this cluster ({plain(self._configuration.host)}) does not know {PLURAL}.{GROUP}. What to do: see"
                " whether it is the right cluster (kubectl config current-context); else install Andante's chart there"
            )
        return InputError(f"there is no {KIND} {plain(name)} {where}{self._others(namespace, name)}")

    def _others(self, namespace: str | None, name: str | None) -> str:
        """What there is in place of a service that is not there."""
        try:
            everywhere = self._list(f"{_ROOT}/{PLURAL}?")
        except _RefusedError:
            return ". What to do: see kubectl get lls, and give another namespace with -n"
        there = sorted((one["metadata"]["namespace"], one["metadata"]["name"]) for one in everywhere)
        same = [space for space, its in there if its == name]
        if same:
            return f". What to do: -n {plain(same[0])}, where there is one of this name"
        here = [its for space, its in there if space == namespace]
        if here:
            return f". What to do: choose one that is there: {', '.join(map(plain, here[:10]))}"
        return ". What to do: `andante status -A` lists all that there are"

    def _get(self, path: str) -> dict[str, Any]:
        import urllib3

        login = {auth["key"]: auth["value"] for auth in self._configuration.auth_settings().values()}
        try:
            response = self._pool.request(
                "GET",
                f"{self._configuration.host}{path}",
                headers={"Accept": "application/json", **login},
                timeout=TIMEOUT_SECONDS,
                retries=False,
            )
        except urllib3.exceptions.HTTPError as error:
            raise InputError(
                f"the API server {plain(self._configuration.host)} does not answer: {plain(error, 300)}"
            ) from error
        self._now = _date(response.headers) or self._now
        try:
            answer = json.loads(response.data)
        except ValueError:
            answer = None
        found: dict[str, Any] = answer if isinstance(answer, dict) else {}
        if response.status >= 300 or answer is None:
            raise _RefusedError(response.status, str(found.get("message") or f"HTTP {response.status}"))
        return found


def _files(kubeconfig: Path | None) -> str:
    """The kubeconfig, or several with the system's separator between them, as kubectl takes them."""
    return os.environ.get("KUBECONFIG") or "~/.kube/config" if kubeconfig is None else str(kubeconfig)


def _of_kubeconfig(files: str, context: str | None) -> tuple[Any, str]:
    """The client of a context, and its namespace. A current context that is wrong matters only without `context`."""
    import kubernetes

    merged = kubernetes.config.kube_config.KubeConfigMerger(files)
    if merged.config is None:
        raise kubernetes.config.ConfigException("there is no such file")
    loader = kubernetes.config.kube_config.KubeConfigLoader(
        config_dict=merged.config, active_context=context, config_base_path=None, config_persister=merged.save_changes
    )
    configuration = kubernetes.client.Configuration()
    loader.load_and_set(configuration)
    chosen = loader.current_context.get("context") or {}
    return kubernetes.client.ApiClient(configuration), str(chosen.get("namespace") or "default")


def _part(name: str) -> str:
    """A name as one part of a path."""
    return quote(name, safe="")


def check_name(what: str, name: str) -> None:
    """Raise InputError unless `name` could be that of an object."""
    if not _NAME.fullmatch(name):
        shown = plain(name, 63)
        raise InputError(f"{what}: '{shown}' is no name of an object: small letters, digits, - and ., as in chat")


def _only_in_cluster() -> bool:
    """Whether the command runs in a pod, and no kubeconfig is there."""
    chosen = os.environ.get("KUBECONFIG") or (Path.home() / ".kube" / "config").exists()
    return _IN_CLUSTER.exists() and not chosen


def _date(headers: Mapping[str, str]) -> datetime | None:
    """The server's clock: ages are by it, whatever this machine's clock says."""
    try:
        return parsedate_to_datetime(headers["Date"])
    except (KeyError, TypeError, ValueError):
        return None
