"""`decide(snapshot, memory, now)`: how many replicas, and why. Pure: no I/O, no clock.

The law in its first form, on what readers feel:

* **Up** at once, by as much as the deficit says. With mean QoE Q = target - deficit, the ready replicas give about
  Q/target of what was asked of them, so ready · target/Q would do. Replicas that warm up are credited until their
  bound; after one became ready, the deficit of requests that suffered before is not held against it (`settle`).
* **Down** by one, only after a quiet window in which one fewer would have sufficed: the window's peak of open requests
  over the remaining replicas stays below what one replica is known to carry. That capacity is learned: it rises to
  every load that was carried well, creeps up while QoE has slack, and falls below the load that brought a deficit.
* Never down on missing, stale or partial metrics.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from andante.domain.scaling.figures import Observed, value_of
from andante.domain.scaling.guards import GUARDS, Proposal
from andante.domain.scaling.memory import MAX_PEAKS, Memory
from andante.domain.scaling.snapshot import Snapshot

MAX_GROWTH = 4.0
"""One decision multiplies the ready replicas by at most this: a measured QoE near 0 says "many", not how many."""
CREEP = 1.01
"""Growth of the learned capacity per decision while a well-loaded replica has slack."""
BACK_OFF = 0.9
"""The learned capacity falls to this share of the load at which a deficit was measured."""
DOWN_MARGIN = 0.85
"""Share of the learned capacity that the remaining replicas may be asked to carry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a decision, for people."""

    name: str
    replicas: int
    """Replicas after the step."""
    reason: str
    """One CamelCase word."""
    message: str
    clamped: bool
    """Whether this step changed what the steps before proposed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """How many replicas there should be, and how that came about."""

    replicas: int
    """What to set; equals the present number in the modes Advisory and Manual."""
    wanted: int
    """What the law and the guard rails want, whatever the mode."""
    steps: tuple[Step, ...]

    @property
    def decisive(self) -> Step:
        """The last step that changed something; the law's own where none did."""
        return next((s for s in reversed(self.steps) if s.clamped), self.steps[0])


def decide(snapshot: Snapshot, memory: Memory, now: float) -> tuple[Decision, Memory]:
    """The decision at `now` (seconds) and what to remember for the next one."""
    learned = _learn(snapshot, memory, now)
    proposal = _propose(snapshot, learned, now)
    steps = [
        Step(
            name="law",
            replicas=proposal.replicas,
            reason=proposal.reason,
            message=proposal.message,
            clamped=False,
        )
    ]
    wanted = proposal.replicas
    for guard in GUARDS:
        verdict = guard(Proposal(replicas=wanted, reason=proposal.reason, message=""), snapshot, learned, now)
        if verdict is not None:
            steps.append(
                Step(
                    name=guard.__name__,
                    replicas=verdict.replicas,
                    reason=verdict.reason,
                    message=verdict.message,
                    clamped=verdict.replicas != wanted,
                )
            )
            wanted = verdict.replicas
    applied = wanted if snapshot.rules.mode == "Auto" else snapshot.replicas.spec
    if applied < snapshot.replicas.spec:
        # The next replica has to be earned by a quiet window of its own.
        learned = dataclasses.replace(learned, quiet_since=now, peaks=())
    return Decision(replicas=applied, wanted=wanted, steps=tuple(steps)), learned


def _learn(snapshot: Snapshot, memory: Memory, now: float) -> Memory:
    ready = snapshot.replicas.ready
    rose = ready > memory.ready
    memory = dataclasses.replace(memory, ready=ready, ready_since=now if rose else memory.ready_since)
    partial = snapshot.pods_measured < ready
    if snapshot.blind or partial:
        return dataclasses.replace(memory, quiet_since=None, deficit_since=None, peaks=())
    load = value_of(snapshot.open_requests) or 0.0
    deficit = value_of(snapshot.deficit) or 0.0
    per_replica = load / ready if ready else math.inf
    if deficit > snapshot.rules.tolerated_deficit:
        capacity = memory.capacity
        settling = memory.ready_since is not None and now - memory.ready_since < snapshot.rules.settle
        if ready and load > 0 and not settling:
            capacity = BACK_OFF * per_replica if capacity is None else min(capacity, BACK_OFF * per_replica)
        return dataclasses.replace(
            memory,
            capacity=capacity,
            quiet_since=None,
            deficit_since=now if memory.deficit_since is None else memory.deficit_since,
            peaks=(),
        )
    capacity = memory.capacity
    if ready and load > 0:
        if capacity is None or per_replica > capacity:
            capacity = per_replica
        elif per_replica > 0.5 * capacity:
            capacity *= CREEP
    return dataclasses.replace(
        memory,
        capacity=capacity,
        quiet_since=now if memory.quiet_since is None else memory.quiet_since,
        deficit_since=None,
        peaks=_with_peak(memory.peaks, now, load, window=snapshot.rules.scale_down_window),
    )


def _with_peak(
    peaks: tuple[tuple[float, float], ...], now: float, load: float, *, window: float
) -> tuple[tuple[float, float], ...]:
    """The peaks of the last window, one per slice of it, so that the memory stays small."""
    slice_seconds = max(1.0, window / (MAX_PEAKS - 2))
    kept = [p for p in peaks if now - p[0] <= window + slice_seconds]
    if load == 0:
        return tuple(kept)  # nothing to remember: an idle service's memory must not change with every tick
    if kept and now - kept[-1][0] < slice_seconds:
        kept[-1] = (kept[-1][0], max(kept[-1][1], load))
    else:
        kept.append((now, load))
    return tuple(kept[-MAX_PEAKS:])


def _propose(snapshot: Snapshot, memory: Memory, now: float) -> Proposal:
    present, rules = snapshot.replicas.spec, snapshot.rules
    if snapshot.blind:
        return Proposal(replicas=present, reason="MetricsMissing", message=f"no decision: {snapshot.blind}")
    deficit = value_of(snapshot.deficit) or 0.0
    if deficit > rules.tolerated_deficit:
        return _up(snapshot, memory, deficit, now)
    return _down(snapshot, memory, now)


def _up(snapshot: Snapshot, memory: Memory, deficit: float, now: float) -> Proposal:
    replicas, rules = snapshot.replicas, snapshot.rules
    words = f"QoE deficit {deficit:.3f} above the tolerated {rules.tolerated_deficit:.3f}"
    lasted = now - (memory.deficit_since if memory.deficit_since is not None else now)
    if lasted < rules.scale_up_window:
        return Proposal(
            replicas=replicas.spec,
            reason="DeficitTooYoung",
            message=f"{words} for {lasted:.0f} s of {rules.scale_up_window:.0f} s",
        )
    warming = sum(age <= rules.warmup_bound for age in replicas.starting_ages)
    settling = memory.ready_since is not None and now - memory.ready_since < rules.settle and replicas.ready > 1
    if settling:
        return Proposal(
            replicas=replicas.spec,
            reason="NewReplicaSettling",
            message=f"{words}, of requests that began before the newest replica was ready",
        )
    qoe = max(rules.target_qoe - deficit, rules.target_qoe / MAX_GROWTH)
    needed = math.ceil(max(replicas.ready, 1) * rules.target_qoe / qoe - 1e-9)
    needed = max(needed, replicas.ready + 1)
    if needed <= replicas.ready + warming:
        return Proposal(
            replicas=max(replicas.spec, replicas.ready + warming),
            reason="WarmingUp",
            message=f"{words}; {needed} replicas would do, {warming} are warming up beside {replicas.ready} ready",
        )
    share = qoe / rules.target_qoe
    return Proposal(
        replicas=max(needed, replicas.spec),
        reason="QoEDeficit",
        message=f"{words}: {replicas.ready} ready replicas deliver {share:.0%} of the target, {needed} are needed",
    )


def _down(snapshot: Snapshot, memory: Memory, now: float) -> Proposal:
    present, rules = snapshot.replicas.spec, snapshot.rules
    if present <= 1:
        return Proposal(replicas=present, reason="TargetMet", message="the target is met")
    quiet = now - (memory.quiet_since if memory.quiet_since is not None else now)
    if quiet < rules.scale_down_window:
        return Proposal(
            replicas=present,
            reason="TargetMet",
            message=f"the target is met; quiet for {quiet:.0f} s of {rules.scale_down_window:.0f} s",
        )
    peak = max((load for _, load in memory.peaks), default=0.0)
    remaining = present - 1
    if peak > 0 and (memory.capacity is None or peak / remaining > DOWN_MARGIN * memory.capacity):
        known = "unknown" if memory.capacity is None else f"{memory.capacity:.1f}"
        return Proposal(
            replicas=present,
            reason="OneFewerTooFew",
            message=f"a peak of {peak:.0f} open requests is too much for {remaining} replicas of capacity {known}",
        )
    goodput = snapshot.smooth_goodput
    words = f", smooth goodput {goodput.value:.0f} tokens/s" if isinstance(goodput, Observed) else ""
    return Proposal(
        replicas=remaining,
        reason="OneFewerSuffices",
        message=f"no deficit for {quiet:.0f} s, peak of {peak:.0f} open requests fits on {remaining} replicas{words}",
    )
