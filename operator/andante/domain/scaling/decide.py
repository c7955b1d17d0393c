"""Decides how many replicas, and why: `decide(snapshot, memory, now)`. Pure: no I/O, no clock.

The law works on the users' deficit:

* **Up** at once, by the number that the deficit asks for. With mean QoE Q = target - deficit, the ready replicas give
  about Q/target of the demand, so ready · target/Q replicas are enough. Replicas that warm up count until the warm-up
  bound. After a replica became ready, the law waits `settle` seconds, as older requests still carry their deficit.
* **Down** by one, only after a quiet window in which one replica fewer was enough: the window's peak of open requests,
  divided by the remaining replicas, stays below the known capacity of one replica. A short gap in the metrics does not
  count as quiet, and a long one ends the quiet time. The capacity is learned. Before the first deficit: the highest
  load so far, plus 1 % per decision. After a deficit: 90 % of the load that caused it.
* Never down on missing, stale or partial metrics, or while smooth goodput shows that readers wait.

Why target/Q: assume that QoE is the share of readers that a replica serves well. Then n ready replicas serve the
readers of n·Q/target replicas, and n·target/Q replicas would serve all. Where one queue delays all readers this number
is too high, so one decision's growth is bounded.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from andante.domain.scaling.figures import value_of
from andante.domain.scaling.guards import GUARDS, Proposal
from andante.domain.scaling.memory import MAX_PEAKS, Memory
from andante.domain.scaling.snapshot import ScalingRules, Snapshot

MAX_GROWTH = 4.0
"""One decision multiplies the ready replicas by at most this: a QoE near 0 does not say how many are needed."""
CREEP = 1.01
"""Growth of the capacity per decision while a loaded replica has slack and no load has ever caused a deficit."""
FORGET_SECONDS = 86_400.0
"""A load that caused a deficit is forgotten by a factor e in this time. If shorter, the replicas would flap under
constant load."""
BACK_OFF = 0.9
"""Capacity of a replica after a deficit, as a share of the load that caused the deficit."""
LEAST_CAPACITY = 1.0
"""Least capacity: more replicas cannot help a reader who is alone on a replica."""
LEAST_SMOOTHNESS = 0.9
"""Below this share of the throughput, smooth goodput shows that readers wait, even without a deficit."""
DOWN_MARGIN = 0.85
"""Most load of the remaining replicas, as a share of the learned capacity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a decision, to explain it to people."""

    name: str
    replicas: int
    """Replicas after the step."""
    reason: str
    """One CamelCase word."""
    message: str
    clamped: bool
    """Whether this step changed the earlier steps' proposal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The number of replicas, and the steps that led to it."""

    replicas: int
    """Number to set; in the modes Advisory and Manual, the present number."""
    wanted: int
    """Number that the law and the guard rails want, in any mode."""
    steps: tuple[Step, ...]

    @property
    def decisive(self) -> Step:
        """The last step that changed the number; the law's own step where none did."""
        return next((s for s in reversed(self.steps) if s.clamped), self.steps[0])


def decide(snapshot: Snapshot, memory: Memory, now: float) -> tuple[Decision, Memory]:
    """The decision at `now` (seconds), and the memory for the next decision."""
    learned = _learn(snapshot, memory.without_future(now), now)
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
        # Before the next replica is removed, a new quiet window must pass.
        learned = dataclasses.replace(learned, quiet_since=now, peaks=())
    if applied != snapshot.replicas.spec:
        learned = learned.with_change(now=now, before=snapshot.replicas.spec)
    return Decision(replicas=applied, wanted=wanted, steps=tuple(steps)), learned


def _learn(snapshot: Snapshot, memory: Memory, now: float) -> Memory:
    ready = snapshot.replicas.ready
    rose = ready > memory.ready > 0  # before the first replica, no earlier requests carry a deficit
    memory = dataclasses.replace(memory, ready=ready, ready_since=now if rose else memory.ready_since)
    if not ready:
        return dataclasses.replace(memory.without_quiet(), deficit_since=None, recent=())
    if snapshot.blind or snapshot.pods_measured < ready:
        since = now if memory.blind_since is None else memory.blind_since
        return dataclasses.replace(memory, blind_since=since, deficit_since=None, recent=())
    memory = memory.seeing_again(now, longest=snapshot.rules.longest_gap)
    load = value_of(snapshot.open_requests) or 0.0
    deficit = value_of(snapshot.deficit) or 0.0
    recent = _with_peak(memory.recent, now, load / ready, window=snapshot.rules.settle, zeros=True)
    memory = dataclasses.replace(memory, recent=recent)
    if deficit > snapshot.rules.tolerated_deficit:
        return dataclasses.replace(
            _lower_ceiling(memory, now, rules=snapshot.rules),
            quiet_since=None,
            deficit_since=now if memory.deficit_since is None else memory.deficit_since,
            peaks=(),
        )
    smoothness = snapshot.smoothness
    if smoothness is not None and smoothness < LEAST_SMOOTHNESS:
        return dataclasses.replace(memory, quiet_since=None, deficit_since=None, peaks=())
    return dataclasses.replace(
        _carried(memory, now, rules=snapshot.rules),
        quiet_since=now if memory.quiet_since is None else memory.quiet_since,
        deficit_since=None,
        peaks=_with_peak(memory.peaks, now, load, window=snapshot.rules.scale_down_window),
    )


def _lower_ceiling(memory: Memory, now: float, *, rules: ScalingRules) -> Memory:
    """Learn from a deficit. Its requests began some time ago, so the highest load since then caused the deficit."""
    settling = memory.ready_since is not None and now - memory.ready_since < rules.settle
    load = max((value for _, value in memory.recent), default=0.0)
    known = _ceiling(memory, now)
    if settling or load <= 0 or (known is not None and known < load):
        return memory
    return dataclasses.replace(memory, ceiling=(now, load))


def _carried(memory: Memory, now: float, *, rules: ScalingRules) -> Memory:
    """Learn without a deficit: a replica can carry the load of the last `settle` seconds, perhaps more."""
    carried = min((value for _, value in memory.recent), default=0.0)
    if carried <= 0 or now - memory.recent[0][0] < rules.settle / 2:
        return memory
    ceiling = _ceiling(memory, now)
    if ceiling is not None and carried > ceiling:
        memory = dataclasses.replace(memory, ceiling=(now, carried))
    capacity = max(memory.carried or 0.0, carried)
    if ceiling is None and carried > 0.5 * capacity:
        capacity *= CREEP
    return dataclasses.replace(memory, carried=capacity)


def _with_peak(
    peaks: tuple[tuple[float, float], ...], now: float, load: float, *, window: float, zeros: bool = False
) -> tuple[tuple[float, float], ...]:
    """The peaks of the last window, one for each slice of the window, so that the memory stays small."""
    slice_seconds = max(1.0, window / (MAX_PEAKS - 2))
    kept = [p for p in peaks if now - p[0] <= window + slice_seconds]
    if load == 0 and not (zeros and any(value for _, value in kept)):
        return tuple(kept)  # unchanged: an idle service's memory must not change with every tick
    if kept and now - kept[-1][0] < slice_seconds:
        kept[-1] = (kept[-1][0], max(kept[-1][1], load))
    else:
        kept.append((now, load))
    return tuple(kept[-MAX_PEAKS:])


def _ceiling(memory: Memory, now: float) -> float | None:
    if memory.ceiling is None:
        return None
    at, load = memory.ceiling
    return load * math.exp(min(max(0.0, now - at) / FORGET_SECONDS, 50.0))


def known_capacity(memory: Memory, now: float) -> float | None:
    """Open requests that one replica can carry within the target; None: not known yet."""
    ceiling = _ceiling(memory, now)
    return memory.carried if ceiling is None else BACK_OFF * ceiling


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
    words = f"QoE is {deficit:.3f} too low because of load ({rules.tolerated_deficit:.3f} is allowed)"
    lasted = now - (memory.deficit_since if memory.deficit_since is not None else now)
    if lasted < rules.scale_up_window:
        return Proposal(
            replicas=replicas.spec,
            reason="DeficitTooYoung",
            message=f"{words}; Andante adds replicas when that has lasted {rules.scale_up_window:.0f} s",
        )
    warming = snapshot.warming
    settling = memory.ready_since is not None and now - memory.ready_since < rules.settle
    if settling:
        return Proposal(
            replicas=replicas.spec,
            reason="NewReplicaSettling",
            message=f"{words}; a replica became ready less than {rules.settle:.0f} s ago, and Andante waits to see"
            " whether it is enough",
        )
    qoe = max(rules.target_qoe - deficit, rules.target_qoe / MAX_GROWTH)
    needed = math.ceil(max(replicas.ready, 1) * rules.target_qoe / qoe - 1e-9)
    needed = max(needed, replicas.ready + 1)
    if needed <= replicas.ready + warming:
        return Proposal(
            replicas=max(replicas.spec, replicas.ready + warming),
            reason="WarmingUp",
            message=f"{words}; {needed} replicas are enough: {replicas.ready} are ready and {warming} are starting",
        )
    share = qoe / rules.target_qoe
    # Replicas that are past the warm-up bound, have a node and still do not serve do not count as capacity.
    wanted = needed + replicas.overdue_on_a_node
    late = replicas.overdue_on_a_node
    overdue = f", and {late} that should be ready by now do not count" if late else ""
    return Proposal(
        replicas=max(wanted, replicas.spec),
        reason="QoEDeficit",
        message=f"{words}: {replicas.ready} ready replicas reach {share:.0%} of the target;"
        f" {needed} are needed{overdue}",
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
            message="the target is met; Andante removes a replica after"
            f" {rules.scale_down_window:.0f} s without a deficit",
        )
    peak = max((load for _, load in memory.peaks), default=0.0)
    remaining = present - 1
    capacity = known_capacity(memory, now)
    if peak / remaining > max(LEAST_CAPACITY, DOWN_MARGIN * (capacity or 0.0)):
        learned = (
            "and what a replica can carry is not known yet"
            if capacity is None
            else f"and {DOWN_MARGIN:.0%} of the {capacity:.1f} that one can carry is the limit"
        )
        return Proposal(
            replicas=present,
            reason="OneFewerTooFew",
            message=f"{remaining} replicas are too few for a peak of {peak:.0f} open requests:"
            f" {peak / remaining:.1f} for each, {learned}",
        )
    goodput = value_of(snapshot.smooth_goodput)
    words = "" if goodput is None else f", smooth goodput {goodput:.0f} tokens/s"
    return Proposal(
        replicas=remaining,
        reason="OneFewerSuffices",
        message=f"{remaining} replicas are enough: no deficit for {rules.scale_down_window:.0f} s,"
        f" a peak of {peak:.0f} open requests{words}",
    )
