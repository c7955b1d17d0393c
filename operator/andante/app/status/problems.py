"""Says which conditions of a service are problems, and which of them is the worst. Pure.

One table has what is good and what is bad of each condition, and the order. The status' summary (`kubectl get lls`),
the Events and the command line read it; docs/reference/conditions.md shows the order.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from andante.api.v1alpha1 import Condition


@dataclass(frozen=True, slots=True, kw_only=True)
class Aspect:
    """What is a problem of one type of condition."""

    type: str
    good: str | None = "True"
    """The status that is good; None: the status says nothing, and only `bad` counts."""
    unknown_is_bad: bool = False
    """Whether it is a problem that the state could not be observed."""
    bad: frozenset[str] = frozenset()
    """Reasons that are a problem with any status."""


WISHED: Final = frozenset({"ScaledToZero", "RollingOut", "RolloutWaiting", "RateLimited"})
"""Reasons that are bad by name only: the resource or the chart asks for this."""
ORDER: Final = (
    Aspect(type="Ready", unknown_is_bad=True),
    Aspect(type="SpecValid"),
    Aspect(type="Degraded", good="False"),
    Aspect(type="MetricsAvailable"),
    Aspect(type="AbleToScale"),
    Aspect(
        type="ScalingActive",
        good=None,
        bad=frozenset({"ReplicaHangs", "ReplicasDoNotStart", "LoadDoesNotSpread", "ReplicasDoNotHelp"}),
    ),
    Aspect(type="EngineCompatible"),
    Aspect(type="RolledOut"),
    Aspect(type="ObjectiveUnreachable", good="False"),
    Aspect(type="SLOMet"),
    Aspect(type="AlertsLoaded"),
)
"""The worst first: no answers, answers at risk, blind, not able to help, and what only shows later or was earlier.
SLOMet is almost last: a spent budget stays for weeks after its cause, and would hide what is wrong now."""
_RANK: Final = {aspect.type: rank for rank, aspect in enumerate(ORDER)}


def problems(conditions: Iterable[Condition]) -> list[Condition]:
    """The conditions that are not well, the worst first."""
    bad = [condition for condition in conditions if is_problem(condition)]
    return sorted(bad, key=lambda condition: _RANK[condition.type])


def is_problem(condition: Condition) -> bool:
    """Whether a person should look at this condition."""
    rank = _RANK.get(condition.type)
    if rank is None or condition.reason in WISHED:
        return False
    aspect = ORDER[rank]
    if condition.reason in aspect.bad:
        return True
    if condition.status == "Unknown":
        return aspect.unknown_is_bad
    return aspect.good is not None and condition.status != aspect.good


def short(condition: Condition) -> str:
    """A problem in one word, as in Degraded:Unschedulable."""
    return f"{condition.type}:{condition.reason}"
