"""Gathers what the operator knows of each service, for its metrics. An unknown figure is None, never 0."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from andante.api.v1alpha1 import LLMService, SpecError
from andante.app.fleet import Fleet, ServiceState
from andante.app.scaling.judge import TickResult, promise
from andante.app.scaling.measurement import Measurement
from andante.domain.deficit_cause import Cause
from andante.domain.scaling.figures import Figure, Missing, NoTraffic, Observed, Stale, value_of
from andante.domain.slo.ledger import Spent
from andante.domain.slo.promise import Promise
from andante.ports import Object

logger = logging.getLogger(__name__)

FAULT = "metrics"
"""Name of this work's faults in the operator's metrics."""
METRICS_STATES: Mapping[type[Figure], str] = {
    Observed: "observed",
    NoTraffic: "no_traffic",
    Stale: "stale",
    Missing: "missing",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceFigures:
    """One service at one moment."""

    namespace: str
    name: str
    desired: int | None
    """Replicas that the service is to have: the scaler's number, in the modes Manual and Advisory the resource's."""
    ready: int
    starting: int
    draining: int
    metrics_state: str | None
    """One of METRICS_STATES; None before the first tick."""
    mean_qoe: float | None = None
    deficit: Mapping[Cause, float] = field(default_factory=dict)
    """The mean deficit's parts; empty where not known."""
    good_fraction: float | None = None
    smooth_goodput: float | None = None
    """Tokens/s."""
    conditions: Sequence[tuple[str, str, str]] = ()
    """Type, status and reason of each condition."""
    promise: Promise | None = None
    """None where the spec cannot be read."""
    budget_remaining: float | None = None
    decisions: Mapping[str, int] = field(default_factory=dict)
    """How many decisions of this process changed the wanted number, by reason."""


def all_figures(
    fleet: Fleet, *, now: float, stale_after: float, on_fault: Callable[[str], None] = lambda kind: None
) -> list[ServiceFigures]:
    """The figures of all services at `now` (Unix time).

    A decision that is older than `stale_after` seconds is stale with all its figures, whatever it was made on. A fault
    costs the series of its service only, and `on_fault` is told of it.
    """
    found = []
    for obj, state in fleet.all():
        try:
            found.append(_figures(fleet, obj, state, now=now, stale_after=stale_after))
        except Exception:  # a scrape must not lose all services for one of them
            on_fault(FAULT)
            logger.exception("%s/%s: no metrics of this service", state.namespace, state.name)
    return found


def _figures(fleet: Fleet, obj: Object, state: ServiceState, *, now: float, stale_after: float) -> ServiceFigures:
    pods, newest = fleet.pods(state), state.decision
    service = _readable(obj, state)
    old = state.decided_at is not None and now - state.decided_at > stale_after
    measurement = newest.measurement if newest and not old else None
    return ServiceFigures(
        namespace=state.namespace,
        name=state.name,
        desired=_desired(newest, service),
        ready=len(pods.ready),
        starting=len(pods.starting),
        draining=len(pods.draining),
        metrics_state=METRICS_STATES[Stale if old else type(newest.measurement.deficit)] if newest else None,
        mean_qoe=value_of(measurement.mean_qoe) if measurement else None,
        deficit=_deficit(measurement) if measurement else {},
        good_fraction=value_of(measurement.good_fraction) if measurement else None,
        smooth_goodput=value_of(measurement.smooth_goodput) if measurement else None,
        conditions=_conditions(state, service),
        promise=promise(service) if service else None,
        budget_remaining=_budget_remaining(newest, service, now=now) if newest and service else None,
        decisions=dict(state.made_by_reason),
    )


def _readable(obj: Object, state: ServiceState) -> LLMService | None:
    try:
        return state.service(obj)
    except SpecError:
        return None


def _desired(newest: TickResult | None, service: LLMService | None) -> int | None:
    if service is not None and service.spec.scaling.mode != "Auto":
        return service.fixed_replicas  # the scaler's number is advice, and moves no replica
    return newest.decision.wanted if newest else None


def _deficit(measurement: Measurement) -> dict[Cause, float]:
    figures = {
        Cause.LOAD: measurement.load_deficit,
        Cause.IDLE: measurement.idle_deficit,
        Cause.FAILED: measurement.failed_deficit,
        Cause.CLIENT: measurement.client_deficit,
    }
    return {cause: figure.value for cause, figure in figures.items() if isinstance(figure, Observed)}


def _conditions(state: ServiceState, service: LLMService | None) -> tuple[tuple[str, str, str], ...]:
    """Of the newest reconcile; before the first one of this process, as the resource tells them."""
    status = state.status or (service.status if service else None)
    return tuple((c.type, c.status, c.reason) for c in status.conditions) if status else ()


def _budget_remaining(newest: TickResult, service: LLMService, *, now: float) -> float | None:
    spent = newest.ledger.spent(promise(service), now=now)
    return spent.remaining if isinstance(spent, Spent) else None
