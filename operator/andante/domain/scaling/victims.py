"""Chooses the pods that leave at a scale-down, with as few deletion costs as possible.

A ReplicaSet first deletes pods that are not ready, then pods with the lowest deletion cost (0 where a pod has none). So
only the pods that leave need a cost, below all others. Pure; the reconcile calls this before it lowers the replicas.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean


def deletion_costs(
    open_requests: Mapping[str, float | None], *, costs: Mapping[str, int], leaving: int
) -> dict[str, int]:
    """The costs to write, by pod, so that the `leaving` ready pods with the fewest readers go first.

    open_requests: of each ready pod, by name; None: not measured. costs: present costs of the pods (0 without one).

    A pod without a measurement counts with the mean of the measured pods: it is Ready, so it gets its share of the
    requests. Counted as empty, a busy pod whose metrics fail would leave first. Counted as full, a broken pod would
    outlive all good pods. At an equal number, a measured pod leaves first. Where no pod is measured, earlier costs are
    reset and none is written: Kubernetes' own order is as good a guess.
    """
    known = [value for value in open_requests.values() if value is not None]
    chosen: list[str] = []
    if known and 0 < leaving < len(open_requests):
        mean = fmean(known)

        def readers(pod: str) -> tuple[float, bool, str]:
            value = open_requests[pod]
            return (mean, True, pod) if value is None else (value, False, pod)

        chosen = sorted(open_requests, key=readers)[:leaving]
    # Below 0: all other pods have at least 0 once earlier costs are reset.
    wanted = dict.fromkeys((pod for pod in open_requests if costs.get(pod, 0) < 0), 0)
    wanted |= {pod: rank - len(chosen) for rank, pod in enumerate(chosen)}
    return {pod: cost for pod, cost in wanted.items() if costs.get(pod, 0) != cost}
