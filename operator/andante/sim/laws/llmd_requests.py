"""llm-d's KEDA path on requests: requests in flight and requests that wait in the router.

Source: llm-d, `docs/architecture/autoscaling/keda-epp.md` and its guide: AverageValue 16 on running requests,
AverageValue 1 on the router's queue, the larger counts; polling 15 s, cooldown 300 s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from andante.sim.fleet.seen import Seen
from andante.sim.laws.hpa import DEFAULT_UP, Rules, average_of_total, most_of
from andante.sim.laws.hpa_metrics import default_down
from andante.sim.laws.keda import KedaLaw, trigger_value
from andante.sim.laws.parameters import Parameter, total


@dataclass(kw_only=True)
class RunningRequests(KedaLaw):
    """The router counts a request as running once it was sent to a replica: in the replica's queue or its batch."""

    running_target: float = 16.0
    queue_target: float = 1.0
    polling: float = 15.0
    down_window: float = 300.0

    PARAMETERS: ClassVar = (
        Parameter(name="running_target", low=2, high=512, logarithmic=True),
        Parameter(name="queue_target", low=0.2, high=64, logarithmic=True),
        Parameter(name="down_window", low=30, high=1800, logarithmic=True),
    )

    def behavior(self) -> tuple[Rules, Rules]:
        """Kubernetes' defaults, with `down_window`."""
        return DEFAULT_UP, default_down(self.down_window)

    def triggers(self, seen: Seen) -> tuple[float | None, ...]:
        """Requests at the replicas, requests in the router."""
        running = total(pod.open_requests for pod in seen.pods)
        return tuple(trigger_value(v, source_down=seen.source_down) for v in (running, seen.router_waiting))

    def desired(self, triggers: tuple[float | None, ...], seen: Seen) -> int | None:
        """The larger of both."""
        targets = (self.running_target, self.queue_target)
        pods = len(seen.pods)
        proposals = [average_of_total(v, target=t, pods=pods) for v, t in zip(triggers, targets, strict=True)]
        return most_of(proposals, current=seen.spec)
