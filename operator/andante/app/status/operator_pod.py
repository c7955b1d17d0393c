"""Says in one sentence why the operator's own pod does not run, for `helm test` (andante.chart_hooks). Pure.

The operator reports on services' pods in conditions. It cannot do so for its own pod.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from andante.app.pods import containers_of, sort_pods
from andante.ports import Object

DEPLOYMENT: Final = "andante-operator"
"""The Deployment's name in the chart."""
LABELS: Final = "app.kubernetes.io/name=andante-operator"
"""Selects the operator's pods in any namespace. Pods of the chart's hooks do not have this label."""

_IMAGE: Final = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_CONFIG: Final = frozenset({"CreateContainerConfigError", "CreateContainerError"})


def hindrance(deployment: Object | None, pods: Iterable[Object], *, namespace: str) -> str | None:
    """Why the operator in `namespace` does not run, and what to do; None where its pod is ready."""
    if deployment is None:
        return f"namespace {namespace} has no Deployment {DEPLOYMENT}. What to do: install the chart there again"
    if deployment["spec"].get("replicas") == 0:
        command = f"kubectl scale deployment/{DEPLOYMENT} --replicas=1 --namespace {namespace}"
        return f"Deployment {DEPLOYMENT} has 0 replicas. What to do: {command}"
    present = sort_pods(pods)
    if present.ready:
        return None
    for pod in present.starting:
        return _of_pod(pod, namespace)
    command = f"kubectl describe deployment/{DEPLOYMENT} --namespace {namespace}"
    return f"the operator has no pod: {_refusal(deployment) or 'none was made yet'}. What to do: see {command}"


def _of_pod(pod: Object, namespace: str) -> str:
    name = pod["metadata"]["name"]
    describe = f"kubectl describe pod {name} --namespace {namespace}"
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return (
                f"no node takes the operator's pod {name}: {_words(condition.get('message'))}. What to do: make room,"
                " or change andante-operator.nodeSelector, tolerations, affinity or resources in the chart's values"
            )
    for container in containers_of(pod):
        found = _of_container(name, container, namespace)
        if found:
            return found
    return f"the operator's pod {name} is not ready yet. What to do: see {describe}"


def _of_container(pod: str, container: Mapping[str, Any], namespace: str) -> str | None:
    state = container.get("state") or {}
    waiting = state.get("waiting") or {}
    reason, message = waiting.get("reason", ""), _words(waiting.get("message"))
    if reason in _IMAGE:
        return (
            f"the node cannot pull {container.get('image')} for the operator's pod {pod}: {reason}: {message}."
            " What to do: correct global.imageRegistry or andante-operator.image in the chart's values; a registry that"
            " asks for a login needs global.imagePullSecrets"
        )
    if reason in _CONFIG:
        command = f"kubectl describe pod {pod} --namespace {namespace}"
        return f"the operator's pod {pod} cannot start: {reason}: {message}. What to do: see {command}"
    ended = state.get("terminated") or (container.get("lastState") or {}).get("terminated") or {}
    if not ended:
        return None
    said = _words(ended.get("message"))[-600:]
    command = f"kubectl logs {pod} --namespace {namespace} --previous"
    return (
        f"the operator's pod {pod} ended with exit status {ended.get('exitCode', 'unknown')} and starts again"
        f"{f'; it last said: {said}' if said else ''}. What to do: see {command}"
    )


def _refusal(deployment: Object) -> str:
    for condition in (deployment.get("status") or {}).get("conditions") or ():
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            return _words(condition.get("message"))
    return ""


def _words(text: str | None) -> str:
    return (text or "").strip().rstrip(".")
