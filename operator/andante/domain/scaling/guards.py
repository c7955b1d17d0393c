"""Guard rails: named pure checks, in order; each may bound a proposal and says why. The list is the documentation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from andante.domain.scaling.memory import Memory
from andante.domain.scaling.snapshot import Mode, OnMetricsMissing, Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A number of replicas with its reason (one CamelCase word) and message (for people)."""

    replicas: int
    reason: str
    message: str


Guard = Callable[[Proposal, Snapshot, Memory, float], Proposal | None]


def metrics_missing(proposal: Proposal, snapshot: Snapshot, memory: Memory, now: float) -> Proposal | None:
    """Without metrics: hold, or go up to the floor; never down."""
    if not snapshot.blind:
        return None
    present = snapshot.replicas.spec
    if snapshot.rules.on_metrics_missing is OnMetricsMissing.SCALE_TO_FLOOR:
        present = max(present, snapshot.rules.min_replicas)
    return Proposal(replicas=present, reason="MetricsMissing", message=f"holding {present}: {snapshot.blind}")


def partial_metrics(proposal: Proposal, snapshot: Snapshot, memory: Memory, now: float) -> Proposal | None:
    """Metrics of only some of the ready pods never justify taking one away."""
    measured, ready = snapshot.pods_measured, snapshot.replicas.ready
    if measured >= ready or proposal.replicas >= snapshot.replicas.spec:
        return None
    message = f"metrics of {measured} of {ready} ready pods: no replica is taken away"
    return Proposal(replicas=snapshot.replicas.spec, reason="MetricsPartial", message=message)


def replicas_starting(proposal: Proposal, snapshot: Snapshot, memory: Memory, now: float) -> Proposal | None:
    """While a replica warms up, none is taken away: the load on those ready is not the load to come."""
    warming = sum(age <= snapshot.rules.warmup_bound for age in snapshot.replicas.starting_ages)
    if not warming or proposal.replicas >= snapshot.replicas.spec:
        return None
    message = f"{warming} replicas are still warming up: none is taken away"
    return Proposal(replicas=snapshot.replicas.spec, reason="WarmingUp", message=message)


def bounds(proposal: Proposal, snapshot: Snapshot, memory: Memory, now: float) -> Proposal | None:
    """minReplicas and maxReplicas of the resource."""
    low, high = snapshot.rules.min_replicas, snapshot.rules.max_replicas
    if proposal.replicas < low:
        return Proposal(replicas=low, reason="MinReplicas", message=f"scaling.minReplicas is {low}")
    if proposal.replicas > high:
        message = f"{proposal.replicas} would be needed, scaling.maxReplicas is {high}"
        return Proposal(replicas=high, reason="MaxReplicas", message=message)
    return None


def foreign_owner(proposal: Proposal, snapshot: Snapshot, memory: Memory, now: float) -> Proposal | None:
    """Somebody else sets the Deployment's replicas: say so, and do not fight."""
    owner = snapshot.replicas.foreign_owner
    if owner is None:
        return None
    message = f"the Deployment's replicas are set by {owner!r}; remove that, or set scaling.mode to Manual"
    return Proposal(replicas=snapshot.replicas.spec, reason="ForeignOwner", message=message)


def mode(proposal: Proposal, snapshot: Snapshot, memory: Memory, now: float) -> Proposal | None:
    """Advisory and Manual: the proposal is only told."""
    if snapshot.rules.mode is Mode.AUTO:
        return None
    message = f"scaling.mode is {snapshot.rules.mode}: {proposal.replicas} is advice only"
    return Proposal(replicas=proposal.replicas, reason=snapshot.rules.mode.value, message=message)


GUARDS: tuple[Guard, ...] = (metrics_missing, partial_metrics, replicas_starting, bounds, foreign_owner, mode)
