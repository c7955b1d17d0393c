"""KEDA on top of the HorizontalPodAutoscaler: how it reads triggers, when it goes from and to zero, its fallback.

Source: kedacore/keda, `pkg/scalers/prometheus_scaler.go`, `pkg/scaling/executor`, `pkg/fallback`. KEDA's polling
interval rules only 0 to 1 and 1 to 0: between 1 and the maximum the HorizontalPodAutoscaler asks KEDA's metrics server
each 15 s.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

from andante.sim.fleet.seen import Seen
from andante.sim.laws.hpa import Actuator, Rules
from andante.sim.laws.parameters import RivalLaw


def trigger_value(value: float | None, *, source_down: bool) -> float | None:
    """The value of a Prometheus trigger. An empty answer and NaN are 0 by default; None: an error."""
    if source_down:
        return None
    return 0.0 if value is None or not math.isfinite(value) else value


@dataclass(slots=True, kw_only=True)
class Activation:
    """From and to zero replicas, looked at once in each polling interval."""

    polling: float = 30.0
    cooldown: float = 300.0
    """Seconds without an active trigger after which the last replica goes."""
    threshold: float = 0.0
    """A trigger is active above it."""
    _next: float = field(default=-math.inf, init=False)
    _active: float | None = field(default=None, init=False)

    def replicas(self, triggers: Sequence[float | None], *, spec: int, now: float) -> int | None:
        """Replicas to ask for; None: the HorizontalPodAutoscaler decides."""
        if now >= self._next:
            self._next = now + self.polling
            active = any(value is not None and value > self.threshold for value in triggers)
            if active or self._active is None:
                self._active = now  # an object that was just made counts as active
            if active and spec == 0:
                return 1
            if not active and spec > 0 and now - self._active > self.cooldown and None not in triggers:
                return 0
        return 0 if spec == 0 else None


@dataclass(kw_only=True)
class KedaLaw(RivalLaw):
    """A law that KEDA reads and a HorizontalPodAutoscaler carries out."""

    polling: float = 30.0
    cooldown: float = 300.0
    _activation: Activation = field(init=False, repr=False)
    _actuator: Actuator = field(init=False, repr=False)

    def __post_init__(self) -> None:
        RivalLaw.__post_init__(self)
        self._activation = Activation(polling=self.polling, cooldown=self.cooldown)
        up, down = self.behavior()
        self._actuator = Actuator(
            min_replicas=max(1, self.min_replicas), max_replicas=self.max_replicas, up=up, down=down
        )

    @abstractmethod
    def behavior(self) -> tuple[Rules, Rules]:
        """`behavior` of the HorizontalPodAutoscaler: up and down."""

    @abstractmethod
    def triggers(self, seen: Seen) -> tuple[float | None, ...]:
        """The triggers' values; None: an error."""

    @abstractmethod
    def desired(self, triggers: tuple[float | None, ...], seen: Seen) -> int | None:
        """Replicas that the HorizontalPodAutoscaler finds; None: the metrics failed."""

    def wanted(self, seen: Seen) -> int:
        """Replicas to ask for now."""
        triggers = self.triggers(seen)
        if self.min_replicas == 0:
            switched = self._activation.replicas(triggers, spec=seen.spec, now=seen.now)
            if switched is not None:
                return switched
        return self._actuator.apply(self.desired(triggers, seen), current=seen.spec, now=seen.now)
