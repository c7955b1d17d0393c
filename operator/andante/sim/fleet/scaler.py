"""What a fleet asks at each of its decisions: how many replicas?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from andante.domain.request_meter import Objective
from andante.sim.engine import Engine
from andante.sim.fleet.meter import Scrape
from andante.sim.fleet.pods import Pod

SIGHT_SECONDS = 60.0
"""Seconds of scrapes that a scaler sees: the windows of the laws' rates, quantiles and maxima."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What can be known at `now`: the cluster's pods as they are, and the scrapes that are old enough to be seen."""

    now: float
    """Seconds from the start."""
    spec: int
    pods: Sequence[Pod]
    """All that are not gone, in the order of creation."""
    scrapes: Sequence[Scrape]
    """The newest one and those of `SIGHT_SECONDS` until it, oldest first."""
    warmups: Sequence[float]
    """Seconds from creation to ready, of all pods that became ready."""
    engine: Engine
    objective: Objective
    """By which the readers are scored."""


class Scaler(Protocol):
    """Decides for one run, and remembers it: must not be used for a second one."""

    @property
    def period(self) -> float:
        """Seconds between two decisions."""

    def wanted(self, sight: Sight) -> int:
        """Replicas to ask for now; >= 0."""


@dataclass(frozen=True, slots=True)
class Static:
    """Always the same number of replicas."""

    replicas: int
    period: float = 3600.0

    def wanted(self, sight: Sight) -> int:
        """The number."""
        del sight
        return self.replicas


@dataclass(frozen=True, slots=True)
class Scheduled:
    """Follows a timetable: (seconds from the start, replicas), ascending; its first entry holds before its time too."""

    timetable: Sequence[tuple[float, int]]
    period: float = 15.0

    def wanted(self, sight: Sight) -> int:
        """The entry that holds at `sight.now`."""
        past = [replicas for at, replicas in self.timetable if at <= sight.now]
        return past[-1] if past else self.timetable[0][1]
