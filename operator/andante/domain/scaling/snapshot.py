"""Describes what the scaler knows of one service at one moment."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from andante.domain.scaling.demand import Demand
from andante.domain.scaling.figures import Figure, Missing, Stale, value_of
from andante.domain.scaling.floors import Floor
from andante.domain.scaling.prices import Prices

_NOT_TOLD = Missing(why="the engines do not tell the demand")


class Mode(StrEnum):
    """Who sets the replicas."""

    AUTO = "Auto"
    ADVISORY = "Advisory"
    MANUAL = "Manual"


class OnMetricsMissing(StrEnum):
    """What to do while there are no metrics; neither value removes replicas."""

    HOLD = "Hold"
    SCALE_TO_FLOOR = "ScaleToFloor"


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """Most replicas that may be added or removed within a period, as in a HorizontalPodAutoscaler's policy."""

    replicas: float
    """A number of replicas or, where `relative`, a share of the replicas at the period's start."""
    relative: bool
    period: float
    """Seconds."""

    def allowance(self, at_start: int) -> int:
        """Replicas that may change within one period that began with `at_start` replicas."""
        return math.ceil(at_start * self.replicas) if self.relative else int(self.replicas)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits:
    """Limits of one direction: the loosest limit counts, or the strictest. Without a limit every change is allowed."""

    limits: tuple[RateLimit, ...] = ()
    strictest: bool = False
    disabled: bool = False
    """No change in this direction is allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingRules:
    """The user's limits from the CR. Times in seconds."""

    mode: Mode = Mode.AUTO
    min_replicas: int = 1
    max_replicas: int = 1
    floors: tuple[Floor, ...] = ()
    """Scheduled minimums that hold now, or begin within a warm-up."""
    target_qoe: float = 0.95
    """QoE that a request should reach, from the objective; > 0."""
    tolerated_deficit: float = 0.01
    """Largest mean deficit with which the target counts as met: (1 - goodFraction) of the target; 0 with a meanQoE."""
    allowed_loss: float = 0.01
    """The error budget as a share, > 0: 1 - the promised share of good requests or, with a meanQoE, 1 - the mean."""
    counts_good: bool = True
    """Whether the target is a share of good requests; False: the mean QoE."""
    pace: float = 4.8
    """Tokens/s of the service's usual reader; 0: the readers have no pace."""
    prices: Prices | None = None
    """Budget mode: replicas are added while they earn more than they cost. None: while the target asks for them."""
    on_metrics_missing: OnMetricsMissing = OnMetricsMissing.HOLD
    scale_up_window: float = 0.0
    """How long a deficit must last before replicas are added."""
    scale_down_window: float = 300.0
    """How long one replica fewer must have been enough before a replica is removed, by the measured load."""
    forecast_window: float = 300.0
    """How long the largest forecast stays in force; at most 5 minutes count."""
    plan_window: float = 120.0
    """The same by the plan, after the time of `forecast_window`."""
    warmup_bound: float = 600.0
    """A replica that is not ready after this time does not count any more."""
    settle: float = 60.0
    """Time after a replica became ready until the measured deficit shows the new capacity."""
    longest_gap: float = 60.0
    """A gap in the metrics of at most this time pauses the quiet time; a longer one ends it."""
    up_limits: RateLimits = RateLimits()
    down_limits: RateLimits = RateLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicas:
    """Numbers of pods by state. Ages in seconds."""

    spec: int
    """Replicas that the Deployment asks for now."""
    ready: int
    starting_ages: tuple[float, ...] = ()
    """Age of each pod that was created and does not serve yet, including Pending pods."""
    overdue_on_a_node: int = 0
    """Starting pods that are older than the warm-up bound and have a node: a new pod may do better on another node. A
    pod without a node does not count: a new pod would wait for the same room."""
    foreign_owner: str | None = None
    """Another field manager that sets the Deployment's replicas."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One service at one moment."""

    rules: ScalingRules
    replicas: Replicas
    deficit: Figure
    """Mean QoE deficit caused by load, of requests that ended in the window and requests open now; in [0, 1]."""
    open_requests: Figure
    """Requests in flight on all replicas."""
    smooth_goodput: Figure
    """Tokens/s in the window, minus the penalty for idle time that load has caused."""
    pods_measured: int
    """Number of ready pods that these figures include."""
    throughput: Figure
    """Tokens/s in the window, without a penalty."""
    demand: Demand = Demand.unknown(_NOT_TOLD)  # noqa: RUF009  it is frozen
    loss: Figure = _NOT_TOLD
    """What load has cost, as `ScalingRules.allowed_loss` counts it: the share of requests that are not good or what the
    mean QoE lacks, without the part of idle replicas, failures and clients."""
    open_on_each: tuple[float, ...] = ()
    """Open requests of each ready replica that was measured."""

    @property
    def load_deficit(self) -> float:
        """The measured deficit; 0 where there was no traffic, or it is not known."""
        return value_of(self.deficit) or 0.0

    @property
    def late(self) -> bool:
        """Whether readers are late because of load, more than is tolerated."""
        return self.load_deficit > self.rules.tolerated_deficit

    @property
    def warming(self) -> int:
        """Replicas that will become ready soon: younger than the warm-up bound, and not a rollout's surge pods."""
        replicas = self.replicas
        young = sum(age <= self.rules.warmup_bound for age in replicas.starting_ages)
        return min(young, max(0, replicas.spec - replicas.ready))

    @property
    def smoothness(self) -> float | None:
        """Smooth goodput as a share of the throughput, at most 1 and without a lower bound; None: not known.

        The deficit of a request is bounded, as QoE is never below 0. The penalty for idle time has no bound.
        """
        smooth, throughput = value_of(self.smooth_goodput), value_of(self.throughput)
        if smooth is None or throughput is None:
            return None
        return smooth / throughput if throughput > 0 else (1.0 if smooth >= 0 else -math.inf)

    @property
    def blind(self) -> str | None:
        """Why no decision is possible on these figures; None where it is possible."""
        for figure in (self.deficit, self.open_requests):
            if isinstance(figure, Missing | Stale):
                return figure.why
        return None
