"""Defines spec.scaling: how many replicas, and why. Every field is validated and stored. The description says if the
present law does not use a field yet."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from andante.api.rules import Rule, list_by, matching, rules
from andante.api.values import APIModel, Duration, Share


class ScalingTarget(APIModel):
    """The quality that the scaler keeps; at most one of the two."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                rule="!(has(self.meanQoE) && has(self.goodFraction))",
                message="give one target, meanQoE or goodFraction: they need different numbers of replicas",
            )
        )
    )

    mean_qoe: Share | None = None
    """Mean QoE of all requests that the scaler keeps."""
    good_fraction: Share | None = None
    """Share of good requests that the scaler keeps. Default of the two: the objective's goodFraction."""


class Budget(APIModel):
    """The price of a replica and the value of smooth tokens."""

    price_per_replica_hour: Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)] | None = None
    """Price of one replica per hour, in a currency of your choice: fills the column $/H and the cost curve."""
    value_per_kilo_smooth_tokens: Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)] | None = None
    """Value of 1,000 smooth tokens, in the same currency: replicas are added while they earn more than they cost,
    whatever the objective promises (budget mode)."""


_FORECAST_WINDOW, _PLAN_WINDOW = 300.0, 120.0
"""Seconds: the default of each part of the time in which a lower plan must last."""


class ScalingPolicy(APIModel):
    """A limit on the speed of change, as in a HorizontalPodAutoscaler."""

    type: Literal["Pods", "Percent"]
    """Pods: `value` is a number of replicas. Percent: `value` is a percentage of the replicas at the period's start."""
    value: Annotated[int, Field(ge=1, le=10_000)]
    """Largest change within the period."""
    period: Annotated[float, Duration(minimum="1s", maximum="30m")]
    """Length of the period."""


class ScalingRules(APIModel):
    """How fast to scale in one direction, as in a HorizontalPodAutoscaler."""

    stabilization_window: Annotated[float, Duration(minimum="0s", maximum="1h")] | None = None
    """How long a proposal must last before it is applied. Default: 0s up; down 7m, or 5m while the engines do not tell
    what a plan needs."""
    policies: Annotated[tuple[ScalingPolicy, ...], Field(max_length=8)] = ()
    """Limits on the speed of change."""
    select_policy: Literal["Max", "Min", "Disabled"] = "Max"
    """Which of several limits counts: Max: the one that allows the largest change. Min: the smallest. Disabled: no
    change in this direction."""


class ScalingBehavior(APIModel):
    """How fast to scale up and down."""

    scale_up: ScalingRules = ScalingRules()
    """More replicas: by default at once, as many as the plan or the deficit asks for."""
    scale_down: ScalingRules = ScalingRules()
    """Fewer replicas: one at a time, after a time in which one fewer would have been enough."""

    @property
    def scale_up_window_seconds(self) -> float:
        """How long a higher proposal must last."""
        window = self.scale_up.stabilization_window
        return 0.0 if window is None else window

    @property
    def scale_down_window_seconds(self) -> float:
        """How long a lower proposal must last."""
        window = self.scale_down.stabilization_window
        return 300.0 if window is None else window

    @property
    def plan_window_seconds(self) -> float:
        """How long a lower plan must last, after its forecast: both times together are the window that is set."""
        window = self.scale_down.stabilization_window
        return _PLAN_WINDOW if window is None else window - self.forecast_window_seconds

    @property
    def forecast_window_seconds(self) -> float:
        """How long the plan's largest forecast stays in force: its part of the window that is set, by the defaults."""
        window, default = self.scale_down.stabilization_window, _FORECAST_WINDOW
        return default if window is None else min(default, window * default / (default + _PLAN_WINDOW))


class ScheduledFloor(APIModel):
    """A minimum of replicas for a known surge. It holds from one learned warm-up before its start, so that the replicas
    serve at the start."""

    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=63,
            json_schema_extra=matching(
                r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "must be lower-case letters, digits and '-'"
            ),
        ),
    ]
    """Name that decisions show as their reason."""
    start: Annotated[
        str,
        Field(
            min_length=9,
            max_length=128,
            json_schema_extra=matching(
                r"^[0-9*,/-]+ [0-9*,/-]+ [0-9*,/-]+ [0-9A-Za-z*,/-]+ [0-9A-Za-z*,/-]+$",
                "must be a cron line of five fields: minute hour day-of-month month day-of-week, such as '0 8 * * 1-5'",
            ),
        ),
    ]
    """Start time, as a cron line: minute hour day-of-month month day-of-week."""
    duration: Annotated[float, Duration(minimum="1m", maximum="7d")]
    """Duration of the minimum."""
    min_replicas: Annotated[int, Field(ge=1, le=1000)]
    """Fewest replicas during this time."""
    time_zone: Annotated[
        str,
        Field(
            min_length=1,
            max_length=64,
            json_schema_extra=matching(
                r"^[A-Za-z][-+_A-Za-z0-9]*(/[-+_A-Za-z0-9]+)*$", "must be a time zone such as UTC or Europe/Berlin"
            ),
        ),
    ] = "UTC"
    """Time zone of the cron line."""


class Scaling(APIModel):
    """How many replicas run."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                rule="!has(self.maxReplicas) || self.minReplicas <= self.maxReplicas",
                message="minReplicas must not be above maxReplicas; lower it, or raise maxReplicas",
                field_path=".minReplicas",
            ),
            Rule(
                rule="!(has(self.target) && has(self.budget) && has(self.budget.valuePerKiloSmoothTokens))",
                message="target and budget.valuePerKiloSmoothTokens are two goals: remove one"
                " (budget.pricePerReplicaHour alone may stay, it fills the cost column)",
                field_path=".target",
            ),
            Rule(
                rule="!has(self.budget) || !has(self.budget.valuePerKiloSmoothTokens)"
                " || has(self.budget.pricePerReplicaHour)",
                message="valuePerKiloSmoothTokens has to be weighed against a price: set pricePerReplicaHour too",
                field_path=".budget",
            ),
            Rule(
                rule="!has(self.maxReplicas) || !has(self.schedule)"
                " || self.schedule.all(s, s.minReplicas <= self.maxReplicas)",
                message="a scheduled floor must not be above maxReplicas",
                field_path=".schedule",
            ),
        )
    )

    mode: Literal["Auto", "Advisory", "Manual"] = "Auto"
    """Auto: the scaler sets the replicas. Advisory: the scaler only shows in status what it would do. Manual: the
    scaler does nothing. In Advisory and Manual mode spec.replicas sets the replicas."""
    min_replicas: Annotated[int, Field(ge=1, le=1000)] = 1
    """Fewest replicas in Auto mode."""
    max_replicas: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Most replicas in Auto mode. Default: minReplicas, so that Andante adds no GPU that you did not allow."""
    target: ScalingTarget | None = None
    """The quality to keep. Default: the share of good requests that qoe.objective promises."""
    budget: Budget | None = None
    """Prices, for the cost column; with a value for tokens: add replicas while they earn more than they cost."""
    on_metrics_missing: Literal["Hold", "ScaleToFloor"] = "Hold"
    """What to do while no metrics can be read. Hold: keep the replicas. ScaleToFloor: go to minReplicas if below it.
    Replicas are never removed on missing metrics."""
    behavior: ScalingBehavior = ScalingBehavior()
    """How fast to scale, as in a HorizontalPodAutoscaler."""
    schedule: Annotated[tuple[ScheduledFloor, ...], Field(max_length=32, json_schema_extra=list_by("name"))] = ()
    """Minimums of replicas for known surges, in Auto mode. Of several at a time the highest counts."""

    @property
    def resolved_max_replicas(self) -> int:
        return self.min_replicas if self.max_replicas is None else self.max_replicas
