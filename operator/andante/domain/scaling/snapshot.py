"""What the scaler knows of one service at one moment."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from andante.domain.scaling.figures import Figure, Missing, NoTraffic, Stale, value_of


class Mode(StrEnum):
    """Who sets the replicas."""

    AUTO = "Auto"
    ADVISORY = "Advisory"
    MANUAL = "Manual"


class OnMetricsMissing(StrEnum):
    """What to do while nothing can be measured; neither takes replicas away."""

    HOLD = "Hold"
    SCALE_TO_FLOOR = "ScaleToFloor"


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """Most replicas that may come or go within a period; a HorizontalPodAutoscaler's policy."""

    replicas: float
    """A number of replicas, or a share of those at the period's start where `relative`."""
    relative: bool
    period: float
    """Seconds."""

    def allowance(self, at_start: int) -> int:
        """Replicas that may change within one period that began with `at_start` of them."""
        return math.ceil(at_start * self.replicas) if self.relative else int(self.replicas)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits:
    """Limits of one direction: the loosest of them counts, or the strictest. No limit: free."""

    limits: tuple[RateLimit, ...] = ()
    strictest: bool = False
    disabled: bool = False
    """No change in this direction at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingRules:
    """The user's limits, from the CR. Times in seconds."""

    mode: Mode = Mode.AUTO
    min_replicas: int = 1
    max_replicas: int = 1
    target_qoe: float = 0.95
    """QoE that a request should reach, the objective's; > 0."""
    tolerated_deficit: float = 0.01
    """Mean deficit up to which the target counts as met: (1 - goodFraction) of it, or 1 - meanQoE's slack."""
    on_metrics_missing: OnMetricsMissing = OnMetricsMissing.HOLD
    scale_up_window: float = 0.0
    """How long a deficit must last before replicas are bought."""
    scale_down_window: float = 300.0
    """How long one fewer must have sufficed before a replica is given back."""
    warmup_bound: float = 600.0
    """A replica that is not ready after this long is no longer counted on."""
    settle: float = 60.0
    """After a replica became ready: how long until the measured deficit speaks of the new capacity."""
    up_limits: RateLimits = RateLimits()
    down_limits: RateLimits = RateLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicas:
    """Pods by state. Ages in seconds."""

    spec: int
    """Replicas that the Deployment asks for now."""
    ready: int
    starting_ages: tuple[float, ...] = ()
    """Age of each pod that was created and does not serve yet, Pending ones included."""
    overdue_on_a_node: int = 0
    """Of those older than the warm-up bound, how many have a node: another one may fare better elsewhere. One that has
    no node waits for the very room that another would wait for."""
    draining: int = 0
    foreign_owner: str | None = None
    """Field manager other than us that sets the Deployment's replicas."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One service at one moment."""

    rules: ScalingRules
    replicas: Replicas
    deficit: Figure
    """Mean QoE deficit that load has caused, of the requests that ended in the window and those open now; in [0, 1]."""
    open_requests: Figure
    """Requests in flight, all replicas together."""
    smooth_goodput: Figure
    """Tokens/s in the window, the penalty for the idling that load has caused taken off."""
    pods_measured: int
    """Ready pods whose metrics are in these figures."""
    throughput: Figure
    """Tokens/s in the window, nothing taken off."""

    @property
    def warming(self) -> int:
        """Replicas that will add to those ready: young enough to be counted on, and not a rollout's spare ones."""
        replicas = self.replicas
        young = sum(age <= self.rules.warmup_bound for age in replicas.starting_ages)
        return min(young, max(0, replicas.spec - replicas.ready))

    @property
    def smoothness(self) -> float | None:
        """Smooth goodput as a share of the throughput, at most 1 and without a floor; None where it is not known.

        It sees what the deficit cannot: a request's QoE has a floor at 0, the penalty for its user's idling grows on.
        """
        smooth, throughput = value_of(self.smooth_goodput), value_of(self.throughput)
        if smooth is None or throughput is None:
            return None
        return smooth / throughput if throughput > 0 else (1.0 if smooth >= 0 else -math.inf)

    @property
    def blind(self) -> str | None:
        """Why nothing can be decided on these figures; None when they can be trusted."""
        for figure in (self.deficit, self.open_requests):
            if isinstance(figure, Missing):
                return figure.why
            if isinstance(figure, Stale):
                return "the newest metrics are too old"
        return None

    @property
    def idle(self) -> bool:
        """Measured well, and there are no requests."""
        return isinstance(self.deficit, NoTraffic)
