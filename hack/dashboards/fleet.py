"""The dashboard of all services: which one needs a look."""

from __future__ import annotations

from hack.dashboards.parts import (
    BY_SERVICE,
    COUNT,
    PER_SECOND,
    SERVICE,
    SHARE,
    Board,
    Query,
    Row,
    by_service,
    lines,
    listing,
    number,
    told,
)

_NAME = "{{namespace}}/{{llmservice}}"
_RED_ABOVE_0 = ((None, "green"), (1.0, "red"))


def _count(expr: str) -> str:
    """How many services; 0 where there is none."""
    return f"count({expr}) or vector(0)"


def _condition(kind: str, status: str) -> str:
    return f'max by ({BY_SERVICE}) (andante_service_condition{{{SERVICE}, type="{kind}", status="{status}"}})'


_NOW = Row(
    title="Which service needs a look?",
    panels=(
        number(
            "Services",
            "LLMServices that the operator knows.",
            COUNT,
            _count(told("andante_service_ready_replicas")),
            span=4,
        ),
        number("Replicas", "That serve.", COUNT, f"sum({told('andante_service_ready_replicas')})", span=4),
        number(
            "With a problem",
            "Condition Degraded: a pod or an object of the service is not as wanted.",
            COUNT,
            _count(_condition("Degraded", "True")),
            steps=_RED_ABOVE_0,
            span=4,
        ),
        number(
            "Not ready",
            "No replica serves, though one is wanted.",
            COUNT,
            _count(f"{told('andante_service_ready_replicas')} == 0 and {told('andante_service_desired_replicas')} > 0"),
            steps=_RED_ABOVE_0,
            span=4,
        ),
        number(
            "Promise broken",
            "The error budget of the window is overspent.",
            COUNT,
            _count(f"{told('andante_slo_budget_remaining_ratio')} < 0"),
            steps=_RED_ABOVE_0,
            span=4,
        ),
        number(
            "Not measured",
            "Serve, and have no figures: nothing scales them.",
            COUNT,
            _count(
                f'max by ({BY_SERVICE}) (andante_service_metrics_state{{{SERVICE}, state=~"missing|stale"}})'
                f" and {told('andante_service_ready_replicas')} > 0"
            ),
            steps=_RED_ABOVE_0,
            span=4,
        ),
        listing(
            "Services",
            "One line a service. An empty cell: not known. Good: of the scaler's window. Deficit: caused by load.",
            COUNT,
            Query(expr=told("andante_service_ready_replicas"), legend="ready"),
            Query(expr=told("andante_service_desired_replicas"), legend="desired"),
            Query(expr=told("andante_service_good_ratio"), legend="good"),
            Query(expr=told("andante_slo_objective_ratio"), legend="promised"),
            Query(expr=told("andante_slo_budget_remaining_ratio"), legend="budget left"),
            Query(expr=told("andante_service_mean_qoe"), legend="mean QoE"),
            Query(expr=f'max by ({BY_SERVICE}) (andante_service_deficit{{{SERVICE}, cause="load"}})', legend="deficit"),
        ),
        listing(
            "Problems",
            "Conditions that need a person: Degraded, a limit of scaling, an objective that no replica can meet,"
            " an engine without the policy, a broken promise.",
            COUNT,
            Query(
                expr=f"max by ({BY_SERVICE}, type, reason) ("
                f'andante_service_condition{{{SERVICE}, type=~"Degraded|ObjectiveUnreachable", status="True"}} or '
                f'andante_service_condition{{{SERVICE}, type=~"AbleToScale|EngineCompatible|SLOMet", status="False"}})'
            ),
            hide=("Value",),
        ),
    ),
)
_TIME = Row(
    title="Since when?",
    panels=(
        lines(
            "Good answers, the ten worst",
            "Share of good answers.",
            SHARE,
            Query(
                expr="bottomk(10, "
                + by_service(f"rate(andante_requests_good_total{{{SERVICE}}}[$__rate_interval])")
                + " / "
                + by_service(f"rate(andante_requests_scored_total{{{SERVICE}}}[$__rate_interval])")
                + ")",
                legend=_NAME,
            ),
            highest=1.0,
        ),
        lines(
            "Error budget left, the ten emptiest",
            "By the operator's ledgers.",
            SHARE,
            Query(
                expr=f"bottomk(10, max by ({BY_SERVICE}) (andante_slo_budget_remaining_ratio{{{SERVICE}}}))",
                legend=_NAME,
            ),
        ),
        lines(
            "Replicas that serve",
            "The ten largest services.",
            COUNT,
            Query(expr=f"topk(10, {told('andante_service_ready_replicas')})", legend=_NAME),
        ),
        lines(
            "Requests",
            "That ended, of the ten busiest services.",
            PER_SECOND,
            Query(
                expr="topk(10, " + by_service(f"rate(andante_requests_total{{{SERVICE}}}[$__rate_interval])") + ")",
                legend=_NAME,
            ),
        ),
        lines(
            "Replicas wanted and not ready",
            "Long: no node, no image, a model that does not load.",
            COUNT,
            Query(
                expr=f"{told('andante_service_desired_replicas')} - {told('andante_service_ready_replicas')} > 0",
                legend=_NAME,
            ),
        ),
        lines(
            "Decisions",
            "Of all services, by reason.",
            COUNT,
            Query(
                expr=f"sum by (reason) (increase(andante_scaling_decisions_total{{{SERVICE}}}[$__rate_interval]))",
                legend="{{reason}}",
            ),
        ),
    ),
)

BOARD = Board(
    uid="andante-fleet",
    title="Andante: fleet",
    description="All LLMServices: which one needs a look, and since when.",
    rows=(_NOW, _TIME),
)
