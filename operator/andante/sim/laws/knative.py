"""Knative's pod autoscaler on concurrency.

Source: knative/serving, `pkg/autoscaler/scaling/autoscaler.go` and `config/core/configmaps/autoscaler.yaml`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

from andante.sim.fleet.seen import Seen
from andante.sim.laws.parameters import Parameter, RivalLaw, total
from andante.sim.laws.windows import Window


@dataclass(kw_only=True)
class KnativeConcurrency(RivalLaw):
    """Open requests of all replicas over a target, averaged over a stable window and over a short panic window.

    Not modelled: the activator in the request path, and the grace period before the last replica goes.
    """

    period: float = 2.0
    container_concurrency: float = 100.0
    utilization: float = 0.7
    """The target is this share of the concurrency."""
    stable_window: float = 60.0
    panic_share: float = 0.1
    """The panic window as a share of the stable window."""
    panic_threshold: float = 2.0
    max_up_rate: float = 1000.0
    max_down_rate: float = 2.0
    _stable: Window = field(init=False, repr=False)
    _panic: Window = field(init=False, repr=False)
    _panic_since: float | None = field(default=None, init=False, repr=False)
    _most_in_panic: int = field(default=0, init=False, repr=False)
    _started: bool = field(default=False, init=False, repr=False)

    PARAMETERS: ClassVar = (
        Parameter(name="container_concurrency", low=2, high=1024, logarithmic=True),
        Parameter(name="stable_window", low=6, high=1800, logarithmic=True),
        Parameter(name="panic_threshold", low=1.1, high=10, logarithmic=True),
    )

    def __post_init__(self) -> None:
        RivalLaw.__post_init__(self)
        self._stable = Window(self.stable_window)
        self._panic = Window(self.stable_window * self.panic_share)

    def wanted(self, seen: Seen) -> int:
        """Replicas to ask for now; unchanged without a measurement in the stable window."""
        ready = max(1, seen.ready)
        if not self._started:
            self._started = True
            if seen.ready > 1:  # starts in panic, so that it keeps its replicas until it has a history
                self._panic_since, self._most_in_panic = seen.now, seen.ready
        self._observe(seen)
        stable, panic = self._stable.mean, self._panic.mean
        if stable is None:
            return self.bounded(seen.spec)
        target = self.container_concurrency * self.utilization
        wanted_stable = math.ceil(stable / target)
        wanted_panic = math.ceil((stable if panic is None else panic) / target)
        most, least = math.ceil(self.max_up_rate * ready), math.floor(ready / self.max_down_rate)
        self._panic_state(over=wanted_panic / ready >= self.panic_threshold, now=seen.now)
        wanted = min(max(wanted_stable, least), most)
        if self._panic_since is not None:
            wanted = max(wanted, min(max(wanted_panic, least), most))
            self._most_in_panic = wanted = max(self._most_in_panic, wanted)
        return self.bounded(wanted)

    def _observe(self, seen: Seen) -> None:
        self._stable.forget(seen.now)
        self._panic.forget(seen.now)
        concurrency = total(pod.open_requests for pod in seen.pods)
        if concurrency is not None and not seen.source_down:
            concurrency += seen.router_waiting or 0.0
            self._stable.add(seen.now, concurrency)
            self._panic.add(seen.now, concurrency)

    def _panic_state(self, *, over: bool, now: float) -> None:
        if over:
            self._panic_since = now
        elif self._panic_since is not None and now - self._panic_since > self.stable_window:
            self._panic_since, self._most_in_panic = None, 0
