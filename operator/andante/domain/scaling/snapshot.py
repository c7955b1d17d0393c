"""What the scaler knows of one service at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from andante.domain.scaling.figures import Figure, Missing, NoTraffic, Stale


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicas:
    """Pods by state. Ages in seconds."""

    spec: int
    """Replicas that the Deployment asks for now."""
    ready: int
    starting_ages: tuple[float, ...] = ()
    """Age of each pod that was created and does not serve yet, Pending ones included."""
    draining: int = 0
    foreign_owner: str | None = None
    """Field manager other than us that sets the Deployment's replicas."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One service at one moment."""

    rules: ScalingRules
    replicas: Replicas
    deficit: Figure
    """Mean QoE deficit of the requests that ended in the window and those open now, in [0, 1]."""
    open_requests: Figure
    """Requests in flight, all replicas together."""
    smooth_goodput: Figure
    """Tokens/s in the window, the penalty for idling taken off."""
    pods_measured: int
    """Ready pods whose metrics are in these figures."""

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
        """Measured well, and nobody asks anything."""
        return isinstance(self.deficit, NoTraffic)
