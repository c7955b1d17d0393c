"""AIBrix' application-specific pod autoscaler with its guard for pending replicas.

Source: vllm-project/aibrix, `pkg/controller/podautoscaler`: `algorithm/apa.go`, the guard in `autoscaler.go`, the
controller's windows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

from andante.sim.fleet.seen import Seen
from andante.sim.laws.parameters import Parameter, RivalLaw, readable_values
from andante.sim.laws.windows import Window


def apa_desired(replicas: int, per_pod: float, target: float, *, up: float = 0.1, down: float = 0.1) -> int:
    """The algorithm: at most twice the replicas, at least half of them."""
    ratio = per_pod / target
    if ratio > 1 + up:
        return min(math.ceil(replicas * ratio), math.ceil(2 * replicas))
    if ratio < 1 - down:
        return max(math.ceil(replicas * ratio), math.floor(replicas / 2))
    return replicas


def pending_guard(desired: int, *, replicas: int, ready: int, per_pod: float, target: float) -> int:
    """Replicas that start count with 0 on the way up, and with the target on the way down; never past the present."""
    pending = replicas - min(max(ready, 0), replicas)
    if pending <= 0 or desired == replicas:
        return desired
    share = (replicas - pending) / replicas
    if desired > replicas:
        adjusted = math.ceil(replicas * (per_pod * share) / target)
        return min(max(adjusted, replicas), desired)
    adjusted = math.ceil(replicas * (per_pod * share + target * (1 - share)) / target)
    return max(min(adjusted, replicas), desired)


@dataclass(kw_only=True)
class AibrixApa(RivalLaw):
    """Mean KV use of the ready pods at a target. Users choose the metric; KV use of .5 is the project's own example."""

    period: float = 10.0
    target: float = 0.5
    window: float = 180.0
    """Seconds over which the metric is averaged."""
    up_tolerance: float = 0.1
    down_tolerance: float = 0.1
    down_window: float = 300.0
    """A scale-down takes the *least* recommendation in it."""
    guard: bool = True
    _values: Window = field(init=False, repr=False)
    _recommended: Window = field(init=False, repr=False)

    PARAMETERS: ClassVar = (
        Parameter(name="target", low=0.05, high=1.0),
        Parameter(name="window", low=10, high=600, logarithmic=True),
        Parameter(name="up_tolerance", low=0.02, high=1.0, logarithmic=True),
        Parameter(name="down_tolerance", low=0.02, high=0.9, logarithmic=True),
    )

    def __post_init__(self) -> None:
        RivalLaw.__post_init__(self)
        self._values, self._recommended = Window(self.window), Window(self.down_window)

    def wanted(self, seen: Seen) -> int:
        """Replicas to ask for now; unchanged when no pod could be read."""
        values = [] if seen.source_down else readable_values(pod.kv_use for pod in seen.ready_pods)
        if not values or seen.spec == 0:
            return self.bounded(seen.spec)
        self._values.add(seen.now, sum(values) / len(values))
        per_pod = self._values.mean or 0.0
        desired = apa_desired(seen.spec, per_pod, self.target, up=self.up_tolerance, down=self.down_tolerance)
        desired = self.bounded(desired)
        if self.guard:
            desired = pending_guard(desired, replicas=seen.spec, ready=seen.ready, per_pod=per_pod, target=self.target)
        self._recommended.add(seen.now, desired)
        if desired < seen.spec:
            desired = int(min(self._recommended.values))
        return self.bounded(desired)
