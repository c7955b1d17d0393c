"""Follows the measured deficit, and learns from it and from the measured load what a replica carries.

`decide` learns with it at each tick (`learned`). It acts on it (`up`, `down`) where the engines tell nothing that a
plan could be made of; where there is a plan, it asks only for `up`, once readers were late for a whole horizon.

* **Up** at once, by the number that the deficit asks for. With mean QoE Q = target - deficit, the ready replicas give
  about Q/target of the demand, so ready · target/Q replicas are enough. Replicas that warm up count until the warm-up
  bound. After a replica became ready, it waits `settle` seconds, as older requests still carry their deficit.
* **Down** by one, only after a quiet window in which one replica fewer was enough: the window's peak of open requests,
  divided by the remaining replicas, stays below 85 % of the known capacity of one replica. A short gap in the metrics
  pauses the quiet time, and a long one ends it; so does smooth goodput that shows that readers wait.
* **The capacity** of a replica is a number of open requests. Before the first deficit: the highest load so far, plus
  1 % per decision while replicas are loaded. After a deficit: 90 % of the load that caused it, and slowly more.

Why target/Q: assume that QoE is the share of readers that a replica serves well. Then n ready replicas serve the
readers of n·Q/target replicas, and n·target/Q replicas would serve all. Where one queue delays all readers this number
is too high, so one decision's growth is bounded.
"""

from __future__ import annotations

import dataclasses
import math

from andante.domain.scaling.explain import Proposal, too_late
from andante.domain.scaling.figures import value_of
from andante.domain.scaling.memory import Memory
from andante.domain.scaling.numbers import grown, since
from andante.domain.scaling.peaks import with_peak
from andante.domain.scaling.prices import Prices
from andante.domain.scaling.relief import obstacle
from andante.domain.scaling.snapshot import ScalingRules, Snapshot

MAX_GROWTH = 4.0
"""One decision multiplies the ready replicas by at most this: a QoE near 0 does not say how many are needed."""
CREEP = 1.01
"""Growth of the capacity per decision while a loaded replica has slack and no load has ever caused a deficit."""
FORGET_SECONDS = 86_400.0
"""A load that caused a deficit is forgotten by a factor e in this time, at the least. If shorter, the replicas would
flap under constant load."""
LONGEST_FORGET_SECONDS = 28 * 86_400.0
"""The same, at the most."""
PROBE_SHARE = 0.1
"""Share of the error budget that trying one replica fewer may cost."""
BACK_OFF = 0.9
"""Capacity of a replica after a deficit, as a share of the load that caused the deficit."""
LEAST_CAPACITY = 1.0
"""Least capacity: more replicas cannot help a reader who is alone on a replica."""
LEAST_SMOOTHNESS = 0.9
"""Below this share of the throughput, smooth goodput shows that readers wait, even without a deficit."""
DOWN_MARGIN = 0.85
"""Most load of the remaining replicas, as a share of the learned capacity."""


def forget_seconds(memory: Memory, rules: ScalingRules) -> float:
    """Time in which a measured bound of a replica's load grows by a factor e.

    Under a constant load the bound grows from BACK_OFF · DOWN_MARGIN to 1, and then one replica fewer is tried, which
    overloads the rest until a new one serves. That must not cost more than PROBE_SHARE of the error budget.
    """
    costs = memory.warmup.seconds + rules.settle
    between = costs / (PROBE_SHARE * max(rules.allowed_loss, 1e-6))
    growth = -math.log(BACK_OFF * DOWN_MARGIN)
    return min(max(FORGET_SECONDS, between / growth), LONGEST_FORGET_SECONDS)


def learned(snapshot: Snapshot, memory: Memory, now: float) -> Memory:
    """What the measured deficit and load of this tick teach."""
    ready = snapshot.replicas.ready
    memory = _with_ready(memory, snapshot, now)
    if not ready:
        return dataclasses.replace(memory.without_quiet(), deficit_since=None, recent=())
    if snapshot.blind or snapshot.pods_measured < ready:
        blind_since = since(memory.blind_since, now, holds=True)
        deficit_since = since(memory.deficit_since, now, holds=snapshot.late and not snapshot.blind)
        return dataclasses.replace(memory, blind_since=blind_since, deficit_since=deficit_since, recent=())
    memory = memory.seeing_again(now, longest=snapshot.rules.longest_gap)
    load = value_of(snapshot.open_requests) or 0.0
    recent = with_peak(memory.recent, now, load / ready, window=snapshot.rules.settle, zeros=True)
    memory = dataclasses.replace(memory, recent=recent)
    if snapshot.late:
        return dataclasses.replace(
            _lower_ceiling(memory, now, rules=snapshot.rules),
            quiet_since=None,
            deficit_since=since(memory.deficit_since, now, holds=True),
            peaks=(),
        )
    smoothness = snapshot.smoothness
    if smoothness is not None and smoothness < LEAST_SMOOTHNESS:
        return dataclasses.replace(memory, quiet_since=None, deficit_since=None, peaks=())
    return dataclasses.replace(
        _carried(memory, now, rules=snapshot.rules),
        quiet_since=since(memory.quiet_since, now, holds=True),
        deficit_since=None,
        peaks=with_peak(memory.peaks, now, load, window=snapshot.rules.scale_down_window),
    )


def _with_ready(memory: Memory, snapshot: Snapshot, now: float) -> Memory:
    """Note new capacity. A rollout and a pod whose readiness flaps bring back what was there before: the deficit knows
    of it. What was gone for longer than the deficit's window is new again."""
    ready, settle = snapshot.replicas.ready, snapshot.rules.settle
    counted = min(ready, snapshot.replicas.spec)
    known = min(memory.ready, snapshot.replicas.spec)
    if memory.short_since is not None and now - memory.short_since > settle and counted < known:
        known = counted
    if counted > known:
        # Before the first replica, no earlier requests carry a deficit.
        ready_since = now if known > 0 else memory.ready_since
        return dataclasses.replace(memory, ready=counted, ready_since=ready_since, short_since=None)
    short_since = since(memory.short_since, now, holds=counted < known)
    return dataclasses.replace(memory, ready=known, short_since=short_since)


def is_settling(memory: Memory, rules: ScalingRules, now: float) -> bool:
    """Whether the measured deficit is still of the time before the newest replica was ready."""
    return memory.ready_since is not None and now - memory.ready_since < rules.settle


def _lower_ceiling(memory: Memory, now: float, *, rules: ScalingRules) -> Memory:
    """Learn from a deficit. Its requests began some time ago, so the highest load since then caused the deficit."""
    settling = is_settling(memory, rules, now)
    load = max((value for _, value in memory.recent), default=0.0)
    known = _ceiling(memory, now, rules=rules)
    if settling or load <= 0 or (known is not None and known < load):
        return memory
    return dataclasses.replace(memory, ceiling=(now, load))


def _carried(memory: Memory, now: float, *, rules: ScalingRules) -> Memory:
    """Learn without a deficit: a replica can carry the load of the last `settle` seconds, perhaps more."""
    carried = min((value for _, value in memory.recent), default=0.0)
    if carried <= 0 or now - memory.recent[0][0] < rules.settle / 2:
        return memory
    ceiling = _ceiling(memory, now, rules=rules)
    if ceiling is not None and carried > ceiling:
        memory = dataclasses.replace(memory, ceiling=(now, carried))
    capacity = max(memory.carried or 0.0, carried)
    if ceiling is None and carried > 0.5 * capacity:
        capacity *= CREEP
    return dataclasses.replace(memory, carried=capacity)


def _ceiling(memory: Memory, now: float, *, rules: ScalingRules) -> float | None:
    return grown(memory.ceiling, now, seconds=forget_seconds(memory, rules))


def known_capacity(memory: Memory, now: float, *, rules: ScalingRules) -> float | None:
    """Open requests that one replica can carry within the target; None: not known yet."""
    ceiling = _ceiling(memory, now, rules=rules)
    return memory.carried if ceiling is None else BACK_OFF * ceiling


def up(snapshot: Snapshot, memory: Memory, now: float) -> Proposal:
    """What a deficit above the tolerated one proposes."""
    replicas, rules = snapshot.replicas, snapshot.rules
    words = too_late(snapshot)
    lasted = now - (memory.deficit_since if memory.deficit_since is not None else now)
    if lasted < rules.scale_up_window:
        return Proposal(
            replicas=replicas.spec,
            reason="DeficitTooYoung",
            message=f"{words}; Andante adds replicas when that has lasted {rules.scale_up_window:.0f} s",
        )
    warming = snapshot.warming
    if is_settling(memory, rules, now):
        return Proposal(
            replicas=replicas.spec,
            reason="NewReplicaSettling",
            message=f"{words}; a replica became ready less than {rules.settle:.0f} s ago, and Andante waits to see"
            " whether it is enough",
        )
    qoe = max(rules.target_qoe - snapshot.load_deficit, rules.target_qoe / MAX_GROWTH)
    needed = math.ceil(max(replicas.ready, 1) * rules.target_qoe / qoe - 1e-9)
    needed = max(needed, replicas.ready + 1)
    if needed <= replicas.ready + warming:
        return Proposal(
            replicas=max(replicas.spec, replicas.ready + warming),
            reason="WarmingUp",
            message=f"{words}; {needed} replicas are enough: {replicas.ready} are ready and {warming} are starting",
        )
    found = hindrance(snapshot, memory, now)
    if found is not None:
        return dataclasses.replace(found, message=f"{words}; {found.message}")
    if memory.relief.in_vain:
        needed = replicas.ready + 1  # the last purchase did not help: one replica is enough to see whether one does
    if rules.prices is not None:
        paid = _paid(snapshot, rules.prices, served=qoe / rules.target_qoe)
        if paid is None or paid < 1:
            return _not_paid(snapshot, rules.prices, words=words, known=paid is not None)
        needed = min(needed, replicas.ready + paid)
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


def _paid(snapshot: Snapshot, prices: Prices, *, served: float) -> int | None:
    """The most replicas that would pay: by the smooth tokens that load costs now; None: tokens/s are not known.
    `served`: the share of readers whom the ready replicas serve, in (0, 1].

    As `up` does, assume that the ready replicas serve these readers and lose the others: then what they give is the
    same share of what is asked for, and another replica gives no more than one of them does.
    """
    tokens, ready = value_of(snapshot.throughput), max(snapshot.replicas.ready, 1)
    if tokens is None:
        return None
    if prices.worth(tokens / ready) < prices.replica:
        return 0
    lost = prices.worth(tokens * (1 / served - 1))
    return math.floor(lost / prices.replica) if prices.replica > 0 else snapshot.rules.max_replicas


def _not_paid(snapshot: Snapshot, prices: Prices, *, words: str, known: bool) -> Proposal:
    """Why the deficit buys nothing in budget mode."""
    cost = f"{prices.replica:.2f} an hour"
    if known:
        message = f"{words}; one more replica would earn less than the {cost} that it costs"
    else:
        message = f"{words}; the engines tell no tokens/s, so it is not known whether one more replica earns {cost}"
    return Proposal(replicas=snapshot.replicas.spec, reason="OneMoreDoesNotPay", message=message)


def hindrance(snapshot: Snapshot, memory: Memory, now: float) -> Proposal | None:
    """Why more replicas would not relieve the readers who are late; None: they may."""
    peak_load = max((value for _, value in memory.recent), default=0.0)
    return obstacle(memory.relief, snapshot, now, peak_load=peak_load, ready_since=memory.ready_since)


def down(snapshot: Snapshot, memory: Memory, now: float) -> Proposal:
    """What a time without a deficit proposes."""
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
    capacity = known_capacity(memory, now, rules=rules)
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
