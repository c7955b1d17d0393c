"""A fixed number of replicas: a reference, right only for a load that is known."""

from __future__ import annotations

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
