"""Whether a Deployment is replacing its pods, by what its controller says. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from andante.ports import Object

NO_PROGRESS_SECONDS = 3600.0
"""A rollout that has not progressed for so long holds no other back, whatever its own deadline is."""


def is_rolling(deployment: Object, *, now: float) -> bool:
    """Whether old pods are being replaced at `now` (Unix time), and the replacement gets on.

    One that does not get on any more is none: by the Deployment's own deadline (a start and a drain), or an hour.
    """
    metadata, status = deployment["metadata"], deployment.get("status") or {}
    if int(status.get("observedGeneration") or 0) < int(metadata.get("generation") or 0):
        return True  # its controller has not seen the newest template yet, which may differ
    return is_unfinished(deployment) and _gets_on(progress_of(deployment), now=now)


def is_unfinished(deployment: Object) -> bool:
    """Whether pods of an older template are there, or the newest ones have not all served yet.

    A Deployment that only changes its number is not: its controller keeps the last rollout's end in mind. Nor is a
    first one: it replaces nobody.
    """
    status = deployment.get("status") or {}
    if int(status.get("replicas") or 0) > int(status.get("updatedReplicas") or 0):
        return True
    first = (deployment["metadata"].get("annotations") or {}).get("deployment.kubernetes.io/revision") in (None, "1")
    return not first and progress_of(deployment).get("reason") not in (None, "NewReplicaSetAvailable")


def progress_of(deployment: Object) -> dict[str, Any]:
    """The condition Progressing of the Deployment; empty where there is none."""
    conditions = (deployment.get("status") or {}).get("conditions") or ()
    return next((dict(condition) for condition in conditions if condition.get("type") == "Progressing"), {})


def has_served(deployment: Object) -> bool:
    """Whether a rollout could take something away from readers: pods that are ready, or were once.

    A moment in which none is ready does not count: an overloaded replica writes its streams on.
    """
    status = deployment.get("status") or {}
    if int(status.get("replicas") or 0) == 0:
        return False
    ready = int(status.get("readyReplicas") or 0) > 0
    return ready or progress_of(deployment).get("reason") == "NewReplicaSetAvailable"


def _gets_on(progress: dict[str, Any], *, now: float) -> bool:
    if progress.get("reason") == "ProgressDeadlineExceeded":
        return False
    try:
        last = datetime.fromisoformat(str(progress["lastUpdateTime"])).timestamp()
    except (KeyError, ValueError):
        return True  # the controller has not said so yet
    return now - last <= NO_PROGRESS_SECONDS
