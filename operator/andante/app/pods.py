"""Sorts a service's pods into buckets, so that decisions never look at raw pods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from andante.api.v1alpha1.pod_template import ENGINE_CONTAINER
from andante.engine_config import ENGINE_PORT
from andante.ports import Object, PodAddress

TEMPLATE_HASH = "pod-template-hash"
"""Label that a Deployment sets on its ReplicaSets and their pods."""
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
"""Annotation by which a ReplicaSet chooses the pod to delete first: the lowest cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pods:
    """Pods by state; every pod is in exactly one bucket."""

    ready: tuple[Object, ...]
    starting: tuple[Object, ...]
    """Created and not serving yet: Pending, pulling the image, loading the model, or crashing before it is ready."""
    draining: tuple[Object, ...]
    """Terminating: streams in flight finish."""
    lost: tuple[Object, ...]
    """Failed or succeeded: they will never serve again."""

    def addresses(self) -> list[PodAddress]:
        """The addresses of engines: first the ready pods, then pods that have served and get no new requests.

        The second group are terminating pods, and pods that fail their readiness probe: the deficits of their requests
        count. A pod that still loads its model has no figures and is not asked.
        """
        served = [pod for pod in (*self.starting, *self.draining) if _has_started(pod)]
        return [
            *(address for pod in self.ready if (address := _address(pod, ready=True))),
            *(address for pod in served if (address := _address(pod, ready=False))),
        ]

    def starting_ages(self, now: float) -> tuple[float, ...]:
        """Seconds since each starting pod was created."""
        return tuple(max(0.0, now - created_at(p)) for p in self.starting)


def sort_pods(pods: Iterable[Object]) -> Pods:
    """Sort the pods of one service into buckets."""
    ready: list[Object] = []
    starting: list[Object] = []
    draining: list[Object] = []
    lost: list[Object] = []
    for pod in pods:
        status = pod.get("status") or {}
        if pod["metadata"].get("deletionTimestamp"):
            draining.append(pod)
        elif status.get("phase") in ("Failed", "Succeeded"):
            lost.append(pod)
        elif _is_ready(status):
            ready.append(pod)
        else:
            starting.append(pod)
    return Pods(ready=tuple(ready), starting=tuple(starting), draining=tuple(draining), lost=tuple(lost))


def containers_of(pod: Object) -> tuple[Mapping[str, Any], ...]:
    """The kubelet's status of each container, in start order."""
    status = pod.get("status") or {}
    return (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ()))


def created_at(obj: Object) -> float:
    """Unix time of creation."""
    return datetime.fromisoformat(obj["metadata"]["creationTimestamp"]).timestamp()


def _address(pod: Object, *, ready: bool) -> PodAddress | None:
    """The engine's address; None where it is not known, or must not be asked.

    A pod in its node's network must not be asked: the port could belong to another process of the node, which the
    tenant itself cannot reach.
    """
    ip = (pod.get("status") or {}).get("podIP")
    if not ip or pod["spec"].get("hostNetwork"):
        return None
    metadata = pod["metadata"]
    return PodAddress(namespace=metadata["namespace"], name=metadata["name"], ip=ip, port=ENGINE_PORT, ready=ready)


def _has_started(pod: Object) -> bool:
    """Whether the engine runs and has passed its startup probe."""
    return any(
        container.get("name") == ENGINE_CONTAINER and container.get("started") is True
        for container in (pod.get("status") or {}).get("containerStatuses") or ()
    )


def _is_ready(status: Mapping[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ())


def is_replica_of(pod: Object, deployment: str) -> bool:
    """Whether a ReplicaSet of the named Deployment controls the pod. The label is not enough: anybody may set it.

    The check uses the name that Deployments give their ReplicaSets. A false owner does not last: the garbage collector
    removes a pod whose owner does not exist, and a ReplicaSet removes pods beyond its number.
    """
    hashed = (pod["metadata"].get("labels") or {}).get(TEMPLATE_HASH)
    return bool(hashed) and any(
        owner.get("controller") and owner.get("kind") == "ReplicaSet" and owner.get("name") == f"{deployment}-{hashed}"
        for owner in pod["metadata"].get("ownerReferences") or ()
    )
