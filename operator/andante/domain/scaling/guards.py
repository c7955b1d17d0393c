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
    warming = snapshot.warming
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


def rate_limits(proposal: Proposal, snapshot: Snapshot, memory: Memory, now: float) -> Proposal | None:
    """behavior.scaleUp and scaleDown: how many replicas may come or go within a period."""
    present = snapshot.replicas.spec
    if proposal.replicas == present:
        return None
    up = proposal.replicas > present
    rules = snapshot.rules.up_limits if up else snapshot.rules.down_limits
    word = "scaleUp" if up else "scaleDown"
    if rules.disabled:
        message = f"scaling.behavior.{word}.selectPolicy is Disabled"
        return Proposal(replicas=present, reason="RateLimited", message=message)
    bounds = []
    for limit in rules.limits:
        start = memory.replicas_at(now - limit.period, present)
        allowed = limit.allowance(start)
        bounds.append(max(present, start + allowed) if up else min(present, start - allowed))
    if not bounds:
        return None
    # For scale-up the loosest limit is the highest number; for scale-down the lowest.
    bound = max(bounds) if up != rules.strictest else min(bounds)
    if (proposal.replicas <= bound) if up else (proposal.replicas >= bound):
        return None
    message = f"{proposal.replicas} would be needed; the policies of scaling.behavior.{word} allow {bound} for now"
    return Proposal(replicas=bound, reason="RateLimited", message=message)


def foreign_owner(proposal: Proposal, snapshot: Snapshot, memory: Memory, now: float) -> Proposal | None:
    """Somebody else sets the Deployment's replicas: say so, and do not fight."""
    owner = snapshot.replicas.foreign_owner
    if owner is None:
        return None
    message = (
        f"{owner!r} set the Deployment's replicas, and Andante leaves them as they are. Stop {owner!r}; then give"
        " control back: set scaling.mode to Manual, and to Auto again"
    )
    return Proposal(replicas=snapshot.replicas.spec, reason="ForeignOwner", message=message)


def mode(proposal: Proposal, snapshot: Snapshot, memory: Memory, now: float) -> Proposal | None:
    """Advisory and Manual: the proposal is only told."""
    if snapshot.rules.mode is Mode.AUTO:
        return None
    message = f"scaling.mode is {snapshot.rules.mode}: {proposal.replicas} is advice only"
    return Proposal(replicas=proposal.replicas, reason=snapshot.rules.mode.value, message=message)


GUARDS: tuple[Guard, ...] = (
    metrics_missing,
    partial_metrics,
    replicas_starting,
    rate_limits,
    bounds,
    foreign_owner,
    mode,
)
