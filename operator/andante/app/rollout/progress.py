"""Tells from a Deployment's status whether the Deployment is replacing its pods. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from andante.ports import Object

NO_PROGRESS_SECONDS = 3600.0
"""A rollout without progress for this long does not block other rollouts, even if its own deadline is longer."""


def is_rolling(deployment: Object, *, now: float) -> bool:
    """Whether old pods are being replaced at `now` (Unix time), with progress.

    A rollout without progress does not count: after the Deployment's own deadline (a start and a drain), or after
    NO_PROGRESS_SECONDS.
    """
    metadata, status = deployment["metadata"], deployment.get("status") or {}
    if int(status.get("observedGeneration") or 0) < int(metadata.get("generation") or 0):
        return True  # the controller has not seen the newest template yet, which may differ
    return is_unfinished(deployment) and _gets_on(progress_of(deployment), now=now)


def is_unfinished(deployment: Object) -> bool:
    """Whether pods of an older template exist, or not all of the newest pods have served yet.

    A Deployment that only changes its number of pods is not unfinished: its status keeps the end of the last rollout.
    Neither is the first rollout of a Deployment, which replaces no pods.
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
    """Whether a rollout could cut streams: pods are ready, or were ready before.

    The answer stays True while no pod is ready for a moment: an overloaded replica still writes its streams.
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
