"""A KEDA formula on waiting requests that holds while replicas start.

Published as a guard against overshoot: one replica for each waiting request, but while more are asked for than exist,
the replicas that start are taken off. On an error of a trigger KEDA's fallback asks for one replica.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from andante.sim.fleet.seen import Seen
from andante.sim.laws.hpa import DEFAULT_UP, Rules, average_of_total
from andante.sim.laws.hpa_metrics import default_down
from andante.sim.laws.keda import KedaLaw, trigger_value
from andante.sim.laws.parameters import Parameter, total


def guarded(demand: float, replicas: float, pending: float) -> float:
    """`demand <= replicas ? demand : max(demand - pending, replicas)`."""
    return demand if demand <= replicas else max(demand - pending, replicas)


@dataclass(kw_only=True)
class OvershootGuard(KedaLaw):
    """The formula's output is the number of replicas (AverageValue 1)."""

    per_replica: float = 1.0
    """Waiting requests for each replica."""
    fallback_replicas: int = 1
    failures: int = 3
    """Errors in a row after which the fallback counts (KEDA's `failureThreshold`)."""
    down_window: float = 300.0
    _failed: int = field(default=0, init=False, repr=False)

    PARAMETERS: ClassVar = (
        Parameter(name="per_replica", low=0.2, high=50, logarithmic=True),
        Parameter(name="down_window", low=30, high=1800, logarithmic=True),
    )

    def behavior(self) -> tuple[Rules, Rules]:
        """Kubernetes' defaults, with `down_window`."""
        return DEFAULT_UP, default_down(self.down_window)

    def triggers(self, seen: Seen) -> tuple[float | None, ...]:
        """Waiting requests of all pods and the router."""
        waiting = total((*(pod.waiting for pod in seen.pods), seen.router_waiting))
        return (trigger_value(waiting, source_down=seen.source_down),)

    def desired(self, triggers: tuple[float | None, ...], seen: Seen) -> int | None:
        """The formula; its fallback after errors in a row; None at the first errors."""
        (waiting,) = triggers
        pods = len(seen.pods)
        if waiting is None:
            self._failed += 1
            return self.fallback_replicas if self._failed >= self.failures else None
        self._failed = 0
        wanted = guarded(waiting / self.per_replica, pods, max(0, pods - seen.ready))
        return average_of_total(wanted, target=1.0, pods=pods)
