"""A fixed number of replicas, and a schedule that was made with hindsight (B0).

Both are references, not scaling laws: the fixed number is right only for a load that is known, and a schedule is given
the future.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import ClassVar

from andante.sim.fleet.seen import Seen
from andante.sim.laws.parameters import Parameter, RivalLaw


@dataclass(kw_only=True)
class Static(RivalLaw):
    """Always the same number."""

    replicas: int = 4

    PARAMETERS: ClassVar = (Parameter(name="replicas", low=1, high=64, whole=True),)

    def wanted(self, seen: Seen) -> int:
        """`replicas`, within the bounds."""
        return self.bounded(self.replicas)


@dataclass(kw_only=True)
class Schedule(RivalLaw):
    """The replicas of a plan, asked for `lead` seconds early: the oracle, when the plan knew the trace."""

    times: tuple[float, ...] = (0.0,)
    """Seconds, rising; the first is the start."""
    plan: tuple[int, ...] = (1,)
    """Replicas from each of the times on."""
    lead: float = 0.0
    """Seconds, as long as a replica takes to become ready."""

    def __post_init__(self) -> None:
        RivalLaw.__post_init__(self)
        if len(self.times) != len(self.plan) or not self.times or list(self.times) != sorted(set(self.times)):
            raise ValueError("times must rise, and plan must have a number for each")

    def wanted(self, seen: Seen) -> int:
        """The most that the plan asks for from now to `lead` seconds later: an early replica leaves no sooner."""
        first = max(0, bisect_right(self.times, seen.now) - 1)
        last = max(first, bisect_right(self.times, seen.now + self.lead) - 1)
        return self.bounded(max(self.plan[first : last + 1]))
