"""Runs in the chart's hook pods: for `helm test` and, if the chart's values ask for it, for `helm uninstall`.

    python -m andante.chart_hooks check --namespace NAMESPACE --operator-namespace NAMESPACE
    python -m andante.chart_hooks remove-services [--namespace NAMESPACE ...]

Each hook has its own ServiceAccount, which exists only during the hook. The operator has none of these rights.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import kubernetes

from andante.api.v1alpha1 import API_VERSION, GROUP, KIND, PLURAL, VERSION
from andante.app.status.operator_pod import DEPLOYMENT, LABELS, hindrance

POLL_SECONDS = 0.5

Service = dict[str, Any]
"""An LLMService in the API's form."""


class HookError(Exception):
    """A hook failed; the message says what was expected, what was seen, and where to look."""


def probe_service(name: str) -> Service:
    """A service without model, GPU and pod on which the operator must still act."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name},
        "spec": {
            "model": {"id": "synthetic", "source": {"synthetic": {}}},
            "engine": {"gpusPerReplica": 0, "virtualGPU": {"profile": "llama-3-8b-1xa100"}},
            "scaling": {"mode": "Manual"},
            "replicas": 0,
        },
    }


def misspelt_service(name: str) -> Service:
    """A service that the CRD's rules must refuse: a custom class without a pace."""
    service = probe_service(name)
    service["spec"]["qoe"] = {"classes": [{"name": "own", "expectedTTFT": "1s"}]}
    return service


class LLMServices:
    """The hooks' calls, only for LLMServices."""

    def __init__(self, api_client: kubernetes.client.ApiClient) -> None:
        self._api = kubernetes.client.CustomObjectsApi(api_client)

    def create(self, namespace: str, service: Service, *, dry_run: bool = False) -> Service:
        """Create the service, or with `dry_run` only check it. Raises ApiException."""
        options: dict[str, Any] = {"field_validation": "Strict", **({"dry_run": "All"} if dry_run else {})}
        created: Service = self._api.create_namespaced_custom_object(
            GROUP, VERSION, namespace, PLURAL, service, **options
        )
        return created

    def read(self, namespace: str, name: str) -> Service | None:
        """The service, or None. Raises ApiException."""
        try:
            found: Service = self._api.get_namespaced_custom_object(GROUP, VERSION, namespace, PLURAL, name)
        except kubernetes.client.ApiException as error:
            if error.status == 404:
                return None
            raise
        return found

    def delete(self, namespace: str, name: str) -> None:
        """Delete the service; no error if it is gone. Raises ApiException."""
        try:
            self._api.delete_namespaced_custom_object(GROUP, VERSION, namespace, PLURAL, name)
        except kubernetes.client.ApiException as error:
            if error.status != 404:
                raise

    def names(self, namespaces: Sequence[str]) -> list[tuple[str, str]]:
        """(namespace, name) of all services in `namespaces`; in all if `namespaces` is empty. Raises ApiException."""
        if namespaces:
            lists = [self._api.list_namespaced_custom_object(GROUP, VERSION, ns, PLURAL) for ns in namespaces]
        else:
            lists = [self._api.list_cluster_custom_object(GROUP, VERSION, PLURAL)]
        return sorted((o["metadata"]["namespace"], o["metadata"]["name"]) for found in lists for o in found["items"])


class OperatorPods:
    """Reads the operator's Deployment and pods, for the check."""

    def __init__(self, api_client: kubernetes.client.ApiClient, *, namespace: str) -> None:
        self._apps = kubernetes.client.AppsV1Api(api_client)
        self._core = kubernetes.client.CoreV1Api(api_client)
        self._plain = api_client.sanitize_for_serialization
        self.namespace = namespace

    def hindrance(self) -> str | None:
        """Why the operator does not run, in a sentence; None where it runs. Raises ApiException."""
        try:
            deployment = self._plain(self._apps.read_namespaced_deployment(DEPLOYMENT, self.namespace))
        except kubernetes.client.ApiException as error:
            if error.status != 404:
                raise
            deployment = None
        pods = self._plain(self._core.list_namespaced_pod(self.namespace, label_selector=LABELS))["items"]
        return hindrance(deployment, pods, namespace=self.namespace)


def check(services: LLMServices, operator: OperatorPods, *, namespace: str, timeout_seconds: float) -> None:
    """Check that the API server refuses a wrong service and that the operator acts on a service. Raises HookError.

    During the wait, print why the operator's pod does not run, whenever the reason changes.
    """
    name = f"andante-check-{uuid.uuid4().hex[:6]}"
    try:
        services.create(namespace, misspelt_service(name), dry_run=True)
    except kubernetes.client.ApiException as error:
        if error.status != 422:
            raise HookError(f"a wrong LLMService must be refused with 422; the answer was: {_words(error)}") from error
        print(f"ok: the API server refuses a wrong LLMService: {_words(error)}", flush=True)
    else:
        raise HookError(
            "the API server admits a wrong LLMService: its CRD is not the one of this chart;"
            " `helm show crds CHART | kubectl apply --server-side --force-conflicts -f -`"
        )
    services.create(namespace, probe_service(name))
    try:
        message = _wait(
            f"the operator to act on LLMService {namespace}/{name}",
            lambda: _verdict(services.read(namespace, name)),
            timeout_seconds=timeout_seconds,
            remedy=f"its pod runs: see kubectl logs deployment/{DEPLOYMENT} --namespace {operator.namespace}",
            hindrance=operator.hindrance,
        )
        print(f"ok: the operator acted on LLMService {namespace}/{name}: {message}", flush=True)
    finally:
        services.delete(namespace, name)
    _wait(
        f"LLMService {namespace}/{name} to be gone",
        lambda: "gone" if services.read(namespace, name) is None else None,
        timeout_seconds=timeout_seconds,
        remedy="a finalizer of somebody else's may hold it",
    )
    print("ok: and it is gone again", flush=True)


def remove_services(services: LLMServices, *, namespaces: Sequence[str], timeout_seconds: float) -> None:
    """Delete every service; the garbage collector deletes the children, and engines drain. Raises HookError."""
    doomed = services.names(namespaces)
    for namespace, name in doomed:
        print(f"deleting LLMService {namespace}/{name}", flush=True)
        services.delete(namespace, name)

    def none_left() -> str | None:
        left = set(doomed) & set(services.names(namespaces))
        return None if left else "gone"

    _wait(
        f"{len(doomed)} LLMServices to be gone",
        none_left,
        timeout_seconds=timeout_seconds,
        remedy="a finalizer of somebody else's may hold them: `kubectl get llmservices -A`",
    )
    print(f"ok: {len(doomed)} LLMServices deleted", flush=True)


def _verdict(service: Service | None) -> str | None:
    """The operator's verdict on this generation of a service; None before. Raises HookError for a wrong verdict."""
    if service is None:
        raise HookError("somebody deleted the LLMService of the check while it ran")
    status: Mapping[str, Any] = service.get("status") or {}
    if status.get("observedGeneration") != service["metadata"]["generation"]:
        return None
    conditions = {c["type"]: c for c in status.get("conditions") or ()}
    for kind, wanted in (("SpecValid", "True"), ("Degraded", "False")):
        found = conditions.get(kind)
        if found is None:
            return None
        if found["status"] != wanted:
            raise HookError(f"the operator reports {kind}={found['status']} ({found['reason']}): {found['message']}")
    return f"{len(conditions)} conditions, endpoint {status.get('endpoint')}"


def _wait(
    what: str,
    found: Callable[[], str | None],
    *,
    timeout_seconds: float,
    remedy: str,
    hindrance: Callable[[], str | None] = lambda: None,
) -> str:
    """Wait for a result of `found`. Raises HookError with `hindrance` or, without a hindrance, with `remedy`."""
    print(f"waiting for {what}", flush=True)
    until, told = time.monotonic() + timeout_seconds, None
    while True:
        answer = found()
        if answer is not None:
            return answer
        hindered = hindrance()
        if time.monotonic() > until:
            raise HookError(f"waited {timeout_seconds:g} s for {what}, which did not happen; {hindered or remedy}")
        if hindered not in (None, told):
            print(f"not yet: {hindered}", flush=True)
            told = hindered
        time.sleep(POLL_SECONDS)


def _words(error: kubernetes.client.ApiException) -> str:
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return f"HTTP {error.status} {error.reason}"


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m andante.chart_hooks", description="The hooks of Andante's chart.")
    hooks = parser.add_subparsers(dest="hook", required=True)
    checking = hooks.add_parser("check", help="make a service without replicas and see the operator act on it")
    checking.add_argument("--namespace", required=True, help="one that the operator watches")
    checking.add_argument("--operator-namespace", required=True, help="where the operator's pod is, or should be")
    removing = hooks.add_parser("remove-services", help="delete every LLMService and wait until they are gone")
    removing.add_argument("--namespace", action="append", default=[], help="repeatable; none: all namespaces")
    for hook in (checking, removing):
        hook.add_argument("--timeout", type=float, default=120.0, metavar="SECONDS", help="default %(default)g")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the hook; return 0 on success, or print a sentence and return 1."""
    arguments = _arguments(argv)
    configuration = kubernetes.client.Configuration()
    try:
        kubernetes.config.load_incluster_config(client_configuration=configuration)
    except kubernetes.config.ConfigException:
        kubernetes.config.load_kube_config(client_configuration=configuration)
    api_client = kubernetes.client.ApiClient(configuration)
    services = LLMServices(api_client)
    try:
        if arguments.hook == "check":
            operator = OperatorPods(api_client, namespace=arguments.operator_namespace)
            check(services, operator, namespace=arguments.namespace, timeout_seconds=arguments.timeout)
        else:
            remove_services(services, namespaces=arguments.namespace, timeout_seconds=arguments.timeout)
    except HookError as error:
        print(f"failed: {error}", flush=True)
    except kubernetes.client.ApiException as error:
        print(f"failed: the API server refused: {_words(error)}", flush=True)
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
