"""The HorizontalPodAutoscaler's own algorithm, on which most rivals act.

Source: kubernetes/kubernetes, pkg/controller/podautoscaler (`replica_calculator.go`, `horizontal.go`) and the defaults
of `autoscaling/v2`. Not modelled: metrics are whole thousandths there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from andante.sim.fleet.seen import PodSeen

TOLERANCE = 0.1
"""The controller's default: a ratio this close to 1 changes nothing."""


def average_of_pods(
    pods: Iterable[PodSeen],
    metric: Callable[[PodSeen], float | None],
    *,
    target: float,
    current: int,
    tolerance: float = TOLERANCE,
) -> int | None:
    """Replicas for a metric of type Pods (AverageValue); None: the metric failed.

    A pod without the metric counts with the target when the others ask for fewer, with 0 when they ask for more. A pod
    that is Pending counts with 0 when the others ask for more, and not at all otherwise. The result never turns the
    direction that the measured pods gave.
    """
    counted: list[float] = []
    missing = unready = 0
    for pod in pods:
        value = metric(pod)
        if pod.pending:
            unready += 1
        elif value is None or math.isnan(value):
            missing += 1
        else:
            counted.append(value)
    if not counted:
        return None
    ratio = sum(counted) / len(counted) / target
    rebalance = unready > 0 and ratio > 1
    if not rebalance and not missing:
        return current if abs(1 - ratio) <= tolerance else math.ceil(ratio * len(counted))
    values = counted + [target if ratio < 1 else 0.0] * missing + [0.0] * (unready if rebalance else 0)
    again = sum(values) / len(values) / target
    if abs(1 - again) <= tolerance or (ratio < 1 < again) or (again < 1 < ratio):
        return current
    replicas = math.ceil(again * len(values))
    if (again < 1 and replicas > current) or (again > 1 and replicas < current):
        return current
    return replicas


def value_of_all(
    value: float | None, *, target: float, current: int, ready: int, tolerance: float = TOLERANCE
) -> int | None:
    """Replicas for a metric of type Object or External with a target Value; None: the metric failed."""
    if value is None or math.isnan(value):
        return None
    ratio = value / target
    if abs(1 - ratio) <= tolerance:
        return current
    return math.ceil(ratio * ready)


def average_of_total(value: float | None, *, target: float, pods: int, tolerance: float = TOLERANCE) -> int | None:
    """Replicas for a metric of type External with a target AverageValue; `pods`: pods that exist (status.replicas)."""
    if value is None or math.isnan(value):
        return None
    if pods > 0 and abs(1 - value / (target * pods)) <= tolerance:
        return pods
    return math.ceil(value / target)


def most_of(proposals: Sequence[int | None], *, current: int) -> int | None:
    """The largest proposal of all metrics. None: all metrics failed, or one failed and the others ask for fewer."""
    known = [p for p in proposals if p is not None]
    if not known or (len(known) < len(proposals) and max(known) < current):
        return None
    return max(known)


class Unit(StrEnum):
    """What a policy counts."""

    PODS = "Pods"
    PERCENT = "Percent"


@dataclass(frozen=True, slots=True)
class Policy:
    """One scaling policy of a direction."""

    unit: Unit
    value: float
    period: float
    """Seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """`behavior` of one direction; the loosest policy counts, as by default."""

    window: float
    """`stabilizationWindowSeconds`."""
    policies: tuple[Policy, ...]


DEFAULT_UP = Rules(window=0.0, policies=(Policy(Unit.PODS, 4, 15), Policy(Unit.PERCENT, 100, 15)))
DEFAULT_DOWN = Rules(window=300.0, policies=(Policy(Unit.PERCENT, 100, 15),))


@dataclass(slots=True, kw_only=True)
class Actuator:
    """The part of the HorizontalPodAutoscaler that turns desired replicas into a change: windows, rates, bounds."""

    min_replicas: int
    max_replicas: int
    up: Rules = DEFAULT_UP
    down: Rules = DEFAULT_DOWN
    _recommended: list[tuple[float, int]] = field(default_factory=list, init=False)
    _added: list[tuple[float, int]] = field(default_factory=list, init=False)
    _removed: list[tuple[float, int]] = field(default_factory=list, init=False)

    def apply(self, desired: int | None, *, current: int, now: float) -> int:
        """Replicas to ask for. `desired` None: the metrics failed, and nothing changes."""
        if current > self.max_replicas:
            return self._changed(self.max_replicas, current, now)
        if current < self.min_replicas:
            return self._changed(self.min_replicas, current, now)
        if desired is None:
            return current
        if not self._recommended:
            self._recommended.append((now, current))
        return self._changed(self._limited(self._stabilized(desired, current, now), current, now), current, now)

    def _stabilized(self, desired: int, current: int, now: float) -> int:
        least = min([desired, *(n for at, n in self._recommended if at > now - self.up.window)])
        most = max([desired, *(n for at, n in self._recommended if at > now - self.down.window)])
        longest = max(self.up.window, self.down.window)
        self._recommended = [(at, n) for at, n in self._recommended if at > now - longest] + [(now, desired)]
        return min(max(current, least), most)

    def _limited(self, wanted: int, current: int, now: float) -> int:
        if wanted > current:
            limits = [
                start + p.value if p.unit is Unit.PODS else math.ceil(start * (1 + p.value / 100))
                for p in self.up.policies
                for start in (self._at_start(p.period, current, now),)
            ]
            return int(min(wanted, self.max_replicas, max([current, *limits])))
        if wanted < current:
            limits = [
                start - p.value if p.unit is Unit.PODS else int(start * (1 - p.value / 100))
                for p in self.down.policies
                for start in (self._at_start(p.period, current, now),)
            ]
            return int(max(wanted, self.min_replicas, min(current, *limits)))
        return wanted

    def _at_start(self, period: float, current: int, now: float) -> int:
        """Replicas at the start of the policy's period."""
        added = sum(n for at, n in self._added if at > now - period)
        removed = sum(n for at, n in self._removed if at > now - period)
        return current - added + removed

    def _changed(self, replicas: int, current: int, now: float) -> int:
        longest = max(p.period for p in (*self.up.policies, *self.down.policies))
        if replicas > current:
            self._added = [e for e in self._added if e[0] > now - longest] + [(now, replicas - current)]
        elif replicas < current:
            self._removed = [e for e in self._removed if e[0] > now - longest] + [(now, current - replicas)]
        return replicas
