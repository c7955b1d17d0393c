"""Defines the guard rails: named pure checks in order. Each may limit a proposal, and says why."""

from __future__ import annotations

from collections.abc import Callable

from andante.domain.scaling.explain import Proposal
from andante.domain.scaling.floors import Floor, in_force
from andante.domain.scaling.memory import LONGEST_PERIOD, Memory
from andante.domain.scaling.snapshot import Mode, OnMetricsMissing, Snapshot

TURN_WINDOWS = 3.0
"""Scale-down windows for which a number of replicas is kept that was left and had to be reached again: a quarter of
an hour at the default window. Longer, a wobble by one replica would hold up the end of a busy hour."""

MOST_TURNS = 4
"""Direction changes within `MOST_TURNS_WINDOWS` that are accepted."""
MOST_TURNS_WINDOWS, LONGEST_TURNS = 12.0, 3600.0
"""Scale-down windows in which direction changes are counted (an hour at the default window), and the most seconds."""
WORTH_A_TURN = 1 / 2
"""A larger share of the replicas that is too many goes all the same: it is no wobble."""

Guard = Callable[[Proposal, Snapshot, Memory, float], Proposal | None]


def _floor(snapshot: Snapshot, memory: Memory, now: float) -> Floor | None:
    """The scheduled floor that asks for more than minReplicas now; None: there is none."""
    found = in_force(snapshot.rules.floors, now, warmup=memory.warmup.seconds)
    return found if found is not None and found.replicas > snapshot.rules.min_replicas else None


def _least(snapshot: Snapshot, memory: Memory, now: float) -> int:
    """The fewest replicas that are allowed now; never above maxReplicas by a schedule."""
    rules, floor = snapshot.rules, _floor(snapshot, memory, now)
    return rules.min_replicas if floor is None else max(rules.min_replicas, min(floor.replicas, rules.max_replicas))


def metrics_missing(proposal: Proposal, snapshot: Snapshot, memory: Memory, now: float) -> Proposal | None:
    """Without metrics: hold, or go up to minReplicas or a scheduled floor; never down."""
    if not snapshot.blind:
        return None
    present = snapshot.replicas.spec
    if snapshot.rules.on_metrics_missing is OnMetricsMissing.SCALE_TO_FLOOR:
        present = max(present, _least(snapshot, memory, now))
    return Proposal(replicas=present, reason="MetricsMissing", message=f"holding {present}: {snapshot.blind}")


def partial_metrics(proposal: Proposal, snapshot: Snapshot, memory: Memory, now: float) -> Proposal | None:
    """Never scale down on metrics of only some of the ready pods."""
    measured, ready = snapshot.pods_measured, snapshot.replicas.ready
    if measured >= ready or proposal.replicas >= snapshot.replicas.spec:
        return None
    message = f"metrics of {measured} of {ready} ready pods: no replica is taken away"
    return Proposal(replicas=snapshot.replicas.spec, reason="MetricsPartial", message=message)


def replicas_starting(proposal: Proposal, snapshot: Snapshot, memory: Memory, now: float) -> Proposal | None:
    """Never scale down while a replica warms up: the load of the ready replicas will change when it is ready."""
    warming = snapshot.warming
    if not warming or proposal.replicas >= snapshot.replicas.spec:
        return None
    message = f"{warming} replicas are still warming up: none is taken away"
    return Proposal(replicas=snapshot.replicas.spec, reason="WarmingUp", message=message)


def turned_lately(proposal: Proposal, snapshot: Snapshot, memory: Memory, now: float) -> Proposal | None:
    """Do not go below a number that was left and had to be reached again: the load comes and goes faster than replicas
    should, and each turn costs a warm-up."""
    present = snapshot.replicas.spec
    hold = min(TURN_WINDOWS * snapshot.rules.scale_down_window, LONGEST_PERIOD)
    floor = min(present, memory.reached_again(present, since=now - hold))
    if proposal.replicas >= floor or floor <= _least(snapshot, memory, now):
        return None
    message = f"{floor} replicas were left and reached again within {hold:.0f} s: no fewer for now"
    return Proposal(replicas=floor, reason="TurnedLately", message=message)


def turned_often(proposal: Proposal, snapshot: Snapshot, memory: Memory, now: float) -> Proposal | None:
    """Begin no removal that would be one direction change too many, the addition after it counted: each one costs a
    warm-up. Removals in a row are one change, and so are additions."""
    present = snapshot.replicas.spec
    if proposal.replicas >= present or present <= _least(snapshot, memory, now) or memory.falling:
        return None
    within = min(MOST_TURNS_WINDOWS * snapshot.rules.scale_down_window, LONGEST_TURNS)
    turns = memory.turns(since=now - within)
    # A plan remembers what it wanted above one; where there is none, it is not known how many are too many.
    planned = 1.0 if memory.plan.known_since is not None else float(present)
    needed = memory.plan.needed(otherwise=planned)
    if turns + 2 <= MOST_TURNS or present - needed > WORTH_A_TURN * present:
        return None
    message = f"the number of replicas changed its direction {turns} times within {within:.0f} s: none goes for now"
    return Proposal(replicas=present, reason="TurnedLately", message=message)


def bounds(proposal: Proposal, snapshot: Snapshot, memory: Memory, now: float) -> Proposal | None:
    """Apply minReplicas, the scheduled floor in force, and maxReplicas."""
    low, high = _least(snapshot, memory, now), snapshot.rules.max_replicas
    floor = _floor(snapshot, memory, now)
    if proposal.replicas < low and floor is not None:
        message = floor.told(now, warmup=memory.warmup.seconds)
        if floor.replicas > low:
            message += f"; scaling.maxReplicas is {high}"
        return Proposal(replicas=low, reason="ScheduledFloor", message=message)
    if proposal.replicas < low:
        return Proposal(replicas=low, reason="MinReplicas", message=f"scaling.minReplicas is {low}")
    if proposal.replicas > high:
        message = f"{proposal.replicas} would be needed, scaling.maxReplicas is {high}"
        return Proposal(replicas=high, reason="MaxReplicas", message=message)
    return None


def rate_limits(proposal: Proposal, snapshot: Snapshot, memory: Memory, now: float) -> Proposal | None:
    """Apply behavior.scaleUp and scaleDown: how many replicas may be added or removed within a period."""
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
    # The loosest limit is the highest number for scale-up, and the lowest for scale-down.
    bound = max(bounds) if up != rules.strictest else min(bounds)
    if (proposal.replicas <= bound) if up else (proposal.replicas >= bound):
        return None
    message = f"{proposal.replicas} would be needed; the policies of scaling.behavior.{word} allow {bound} for now"
    return Proposal(replicas=bound, reason="RateLimited", message=message)


def foreign_owner(proposal: Proposal, snapshot: Snapshot, memory: Memory, now: float) -> Proposal | None:
    """Report that another field manager sets the Deployment's replicas, and leave its number."""
    owner = snapshot.replicas.foreign_owner
    if owner is None:
        return None
    who = f"{owner!r}"
    if owner == "kube-controller-manager":
        who += " (for a HorizontalPodAutoscaler, usually: see kubectl get hpa)"
    message = (
        f"{who} set the Deployment's replicas, and Andante leaves them as they are. Stop {owner!r}; then give"
        " control back: set scaling.mode to Manual, and to Auto again"
    )
    return Proposal(replicas=snapshot.replicas.spec, reason="ForeignOwner", message=message)


def mode(proposal: Proposal, snapshot: Snapshot, memory: Memory, now: float) -> Proposal | None:
    """In the modes Advisory and Manual, only report the proposal."""
    if snapshot.rules.mode is Mode.AUTO:
        return None
    message = f"scaling.mode is {snapshot.rules.mode}: {proposal.replicas} is advice only"
    return Proposal(replicas=proposal.replicas, reason=snapshot.rules.mode.value, message=message)


GUARDS: tuple[Guard, ...] = (
    metrics_missing,
    partial_metrics,
    replicas_starting,
    turned_lately,
    turned_often,
    rate_limits,
    bounds,
    foreign_owner,
    mode,
)
