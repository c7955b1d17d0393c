"""Decides how many replicas, and why: `decide(snapshot, memory, now)`. Pure: no I/O, no clock.

Where the engines tell their arrivals and their speed, the plan of `law` looks ahead by one warm-up. The measured
deficit is followed as well (`feedback`): it is all there is where the engines tell less, and it sees what no model
does. In budget mode the plan alone decides where there is one: the deficit knows no price. `relief` asks whether
replicas can help before a deficit buys any; the guard rails (`guards`) come last.
"""

from __future__ import annotations

import dataclasses

from andante.domain.scaling import feedback, law
from andante.domain.scaling.explain import Decision, Proposal, Step
from andante.domain.scaling.feedback import known_capacity
from andante.domain.scaling.guards import GUARDS
from andante.domain.scaling.memory import Memory
from andante.domain.scaling.proposal import proposal as planned_proposal
from andante.domain.scaling.snapshot import Snapshot

__all__ = ["Decision", "Step", "decide", "known_capacity"]


def decide(snapshot: Snapshot, memory: Memory, now: float) -> tuple[Decision, Memory]:
    """The decision at `now` (seconds), and the memory for the next decision."""
    learned, found = _learn(snapshot, memory.without_future(now), now)
    proposal = _propose(snapshot, learned, found, now)
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
        # Before the next replica is removed on a measured load, a new quiet window must pass.
        learned = dataclasses.replace(learned, quiet_since=now, peaks=())
    if applied > snapshot.replicas.spec and proposal.reason == "QoEDeficit":
        learned = dataclasses.replace(learned, relief=learned.relief.bought(snapshot))
    if applied != snapshot.replicas.spec:
        learned = learned.with_change(now=now, before=snapshot.replicas.spec, after=applied)
    curve = () if found is None else found.curve
    return Decision(replicas=applied, wanted=wanted, steps=tuple(steps), curve=curve), learned


def _learn(snapshot: Snapshot, memory: Memory, now: float) -> tuple[Memory, law.Wanted | None]:
    """The memory after this tick, and the plan; None: there is none."""
    rules = snapshot.rules
    memory = dataclasses.replace(memory, warmup=memory.warmup.learned(snapshot, now))
    memory = feedback.learned(snapshot, memory, now)
    settled = not feedback.is_settling(memory, rules, now)
    forget = feedback.forget_seconds(memory, rules)
    warmup = memory.warmup.seconds
    plan, found = memory.plan, None
    if not snapshot.blind:
        memory = dataclasses.replace(memory, relief=memory.relief.learned(snapshot, now, settled=settled))
        hindered = memory.deficit_since is not None and feedback.hindrance(snapshot, memory, now) is not None
        late_for = None if memory.deficit_since is None else now - memory.deficit_since
        relievable = not hindered and memory.relief.in_vain == 0
        plan = law.learned(plan, snapshot, now, warmup=warmup, forget=forget, late_for=late_for, relievable=relievable)
        found = law.wanted(plan, snapshot, now, warmup=warmup, forget=forget, relievable=not hindered)
    return dataclasses.replace(memory, plan=law.noted(plan, found, snapshot, now)), found


def _propose(snapshot: Snapshot, memory: Memory, found: law.Wanted | None, now: float) -> Proposal:
    present = snapshot.replicas.spec
    if snapshot.blind:
        return Proposal(replicas=present, reason="MetricsMissing", message=f"no decision: {snapshot.blind}")
    if found is None:
        return feedback.up(snapshot, memory, now) if snapshot.late else _down_without_a_plan(snapshot, memory, now)
    planned = planned_proposal(memory.plan, found, snapshot, now)
    if not snapshot.late or planned.replicas > present:
        return planned
    if found.earnings is not None:
        return planned  # who is late here would have to be served at a loss
    # The plan sees no need of more, and readers are late. A purchase of the plan would have helped by now.
    if now - (memory.deficit_since if memory.deficit_since is not None else now) < found.horizon:
        return _without_removal(planned, snapshot)
    # At most twice as many: it is a second opinion, and the plan learns from the same deficit what a replica carries.
    most = max(present, snapshot.replicas.ready + 1, 2 * snapshot.replicas.ready)
    measured = feedback.up(snapshot, memory, now)
    if measured.replicas <= most:
        return measured
    return dataclasses.replace(measured, replicas=most, message=f"{measured.message}; at most {most} at once")


def _without_removal(planned: Proposal, snapshot: Snapshot) -> Proposal:
    """The plan, but no replica goes while readers are late: the plan's capacity is reckoned, their deficit measured."""
    present = snapshot.replicas.spec
    if planned.replicas >= present:
        return planned
    message = f"QoE is {snapshot.load_deficit:.3f} too low because of load, so no replica is removed"
    return Proposal(replicas=present, reason="OneFewerTooFew", message=message)


def _down_without_a_plan(snapshot: Snapshot, memory: Memory, now: float) -> Proposal:
    """What a time without a deficit proposes; nothing goes while a plan is missing that was there a moment ago."""
    measured = feedback.down(snapshot, memory, now)
    told, window = memory.plan.forecast.at, snapshot.rules.scale_down_window
    present = snapshot.replicas.spec
    if measured.replicas >= present or told is None or now - told > window:
        return measured
    return Proposal(
        replicas=present,
        reason="TargetMet",
        message="the target is met; the engines have stopped telling their demand, and none is removed for"
        f" {window:.0f} s",
    )
