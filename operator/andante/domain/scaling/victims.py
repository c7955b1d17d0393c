"""Which replicas leave when their number goes down, told to Kubernetes in as few words as possible.

A ReplicaSet takes pods that are not ready first, then those of the lowest deletion cost; 0 where a pod says none. So
only those that leave need a cost, below that of all others. Pure; the reconcile calls it before it lowers the replicas.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean


def deletion_costs(
    open_requests: Mapping[str, float | None], *, costs: Mapping[str, int], leaving: int
) -> dict[str, int]:
    """Costs to write, by pod, so that the `leaving` ready pods with the fewest readers go first.

    open_requests: of each ready pod, by name; None: not measured. costs: what pods say now (a pod without one: 0).

    A pod that is not measured counts as one with the mean of the measured pods: it is Ready, so it gets its share of
    the requests. Counted as empty, a busy pod whose metrics fail would be the first to go; counted as full, a broken
    pod would outlive all good ones. Pods that are known to have so many go before it. Where none is measured, nothing
    is said, and what was said before is taken back: Kubernetes' own order is as good a guess.
    """
    known = [value for value in open_requests.values() if value is not None]
    chosen: list[str] = []
    if known and 0 < leaving < len(open_requests):
        mean = fmean(known)

        def readers(pod: str) -> tuple[float, bool, str]:
            value = open_requests[pod]
            return (mean, True, pod) if value is None else (value, False, pod)

        chosen = sorted(open_requests, key=readers)[:leaving]
    # Below 0, which all others have at least once the last remarks are taken back.
    wanted = dict.fromkeys((pod for pod in open_requests if costs.get(pod, 0) < 0), 0)
    wanted |= {pod: rank - len(chosen) for rank, pod in enumerate(chosen)}
    return {pod: cost for pod, cost in wanted.items() if costs.get(pod, 0) != cost}
