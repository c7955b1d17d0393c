"""Tells Kubernetes which pods to delete before the number of replicas is lowered, by the scaler or by a person."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from andante.app.pods import DELETION_COST, Pods
from andante.domain.scaling.victims import deletion_costs
from andante.ports import Cluster, NotFoundError, Object, RefusedError, UnavailableError

logger = logging.getLogger(__name__)

WRITES_AT_ONCE = 8
"""Pods that are patched at the same time; all services share one API server."""


def mark_victims(
    cluster: Cluster, pods: Pods, *, deployment: Object | None, replicas: int | None, open_by_pod: Mapping[str, float]
) -> None:
    """Write deletion costs where `replicas` is below the Deployment's present number. Does not raise: without costs
    Kubernetes chooses the pods, and a pod that leaves drains in either case."""
    present = ((deployment or {}).get("spec") or {}).get("replicas")
    if present is None or replicas is None or replicas >= present:
        return
    by_name = {pod["metadata"]["name"]: pod for pod in pods.ready}
    costs = deletion_costs(
        {name: open_by_pod.get(name) for name in by_name},
        costs={name: _cost(pod) for name, pod in by_name.items()},
        leaving=present - replicas,
    )
    if not costs:
        return

    def mark(name: str) -> str | None:
        pod = by_name[name]["metadata"]
        try:
            cluster.annotate_pod(namespace=pod["namespace"], name=name, annotations={DELETION_COST: str(costs[name])})
        except NotFoundError:
            return None
        except (RefusedError, UnavailableError) as error:
            return f"pod {name}: {error}"
        return None

    with ThreadPoolExecutor(max_workers=min(WRITES_AT_ONCE, len(costs))) as writers:
        failed = [text for text in writers.map(mark, costs) if text]
    if failed:
        logger.warning("deletion cost of %d pods not set; the first, %s", len(failed), failed[0])


def _cost(pod: Object) -> int:
    text = (pod["metadata"].get("annotations") or {}).get(DELETION_COST, "0")
    try:
        return int(text)
    except ValueError:
        return 0  # as the ReplicaSet controller does
