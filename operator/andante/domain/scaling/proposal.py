"""Says what the plan proposes, and why: up at once, down to the most that it asked for within the scale-down window.

`decide` asks once a tick. In budget mode the messages tell money.
"""

from __future__ import annotations

from andante.domain.scaling.earnings import Earnings
from andante.domain.scaling.explain import Proposal, too_late
from andante.domain.scaling.law import Plan, Wanted
from andante.domain.scaling.snapshot import Snapshot


def proposal(plan: Plan, found: Wanted, snapshot: Snapshot, now: float) -> Proposal:
    """What the plan proposes at `now`."""
    if found.replicas > snapshot.replicas.spec:
        return _up(plan, found, snapshot, now)
    return _kept(plan, found, snapshot, now) or _down(plan, found, snapshot)


def _up(plan: Plan, found: Wanted, snapshot: Snapshot, now: float) -> Proposal:
    present, window = snapshot.replicas.spec, snapshot.rules.scale_up_window
    lasted = now - (plan.above_since if plan.above_since is not None else now)
    if found.earnings is None:
        why = f"{found.replicas} keep the target with the errors that such forecasts had"
    else:
        more = found.earnings.value(found.replicas) - found.earnings.value(max(1, present))
        cost = found.earnings.price * (found.replicas - max(1, present))
        why = f"{found.replicas} replicas would earn {more:.2f} more an hour than {present}, and cost {cost:.2f} more"
    message = f"{_expected(found)}; {why}"
    if lasted < window:
        return Proposal(
            replicas=present,
            reason="DemandTooYoung",
            message=f"{message}; Andante adds replicas when that has lasted {window:.0f} s",
        )
    if not snapshot.late:
        return Proposal(replicas=found.replicas, reason="DemandExpected", message=message)
    return Proposal(replicas=found.replicas, reason="QoEDeficit", message=f"{too_late(snapshot)}; {message}")


def _kept(plan: Plan, found: Wanted, snapshot: Snapshot, now: float) -> Proposal | None:
    """Why no replica goes; None: one goes."""
    present, rules = snapshot.replicas.spec, snapshot.rules
    words, earnings = _expected(found), found.earnings
    if present <= 1:
        if earnings is not None:
            return _enough(snapshot, found, earnings)
        return Proposal(replicas=present, reason="TargetMet", message="the target is met")
    lasted = now - (plan.known_since if plan.known_since is not None else now)
    most = _most(plan, found)
    if found.arrives >= present > most:
        # A forecast that takes what arrives for a short surge does not take away the replicas that serve it.
        message = f"{present - 1} replicas are too few for what arrives now, though {words}"
        return Proposal(replicas=present, reason="OneFewerTooFew", message=message)
    if earnings is not None and found.replicas == present:
        return _enough(snapshot, found, earnings)
    if most >= present:
        needed = "were needed" if earnings is None else "paid"
        return Proposal(
            replicas=present,
            reason="OneFewerTooFew",
            message=f"{present - 1} replicas are too few: {words}, and {most} {needed} within the last"
            f" {rules.plan_window:.0f} s",
        )
    if lasted < rules.plan_window:
        reason, why, until = "TargetMet", "the target is met", "need fewer"
        if earnings is not None:
            reason, why, until = "OneMoreDoesNotPay", _last(snapshot, found, earnings), "pay for fewer"
        message = f"{why}; Andante removes a replica when {rules.plan_window:.0f} s of forecasts {until}"
        return Proposal(replicas=present, reason=reason, message=message)
    return None


def _down(plan: Plan, found: Wanted, snapshot: Snapshot) -> Proposal:
    present, window, most = snapshot.replicas.spec, snapshot.rules.plan_window, _most(plan, found)
    if found.earnings is not None:
        why = _last(snapshot, found, found.earnings)
        message = f"{why}, and no more than {most} paid within the last {window:.0f} s"
        return Proposal(replicas=present - 1, reason="OneFewerPays", message=message)
    return Proposal(
        replicas=present - 1,
        reason="OneFewerSuffices",
        message=f"{present - 1} replicas are enough: {_expected(found)}, and {most} would be enough for all of the last"
        f" {window:.0f} s",
    )


def _most(plan: Plan, found: Wanted) -> int:
    """The most that the plan asked for in its window."""
    return max([found.replicas, *(int(replicas) for _, replicas in plan.wants)])


def _enough(snapshot: Snapshot, found: Wanted, earnings: Earnings) -> Proposal:
    """Why one more replica is not added, though readers may be late."""
    present = snapshot.replicas.spec
    more = earnings.value(present + 1) - earnings.value(max(1, present))
    words = f"{_expected(found)}; one more replica would earn {more:.2f} and cost {earnings.price:.2f} an hour"
    return Proposal(replicas=present, reason="OneMoreDoesNotPay", message=_with_lateness(words, snapshot))


def _last(snapshot: Snapshot, found: Wanted, earnings: Earnings) -> str:
    """What the last of the present replicas, two at the least, earns."""
    present = snapshot.replicas.spec
    earned = earnings.value(present) - earnings.value(present - 1)
    words = f"{_expected(found)}; the last replica earns {earned:.2f} and costs {earnings.price:.2f} an hour"
    return _with_lateness(words, snapshot)


def _with_lateness(words: str, snapshot: Snapshot) -> str:
    return f"{too_late(snapshot)}; {words}" if snapshot.late else words


def _expected(found: Wanted) -> str:
    return f"work for {found.demand:.2f} replicas is expected within {found.horizon:.0f} s"
