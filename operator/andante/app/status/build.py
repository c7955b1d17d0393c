"""Builds a service's status from the observation and the decision. Pure. Unknown figures stay absent."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from andante.api.v1alpha1 import (
    Condition,
    ControllerMemory,
    CurvePoint,
    Decision,
    DecisionInputs,
    DecisionStep,
    LLMServiceStatus,
    QoEStatus,
    ScalingStatus,
    Summary,
)
from andante.app.children import endpoint, selector_text
from andante.app.scaling.demand import NO_FIT
from andante.app.scaling.judge import KEPT_DECISIONS, MadeDecision
from andante.app.scaling.measurement import Measurement
from andante.app.status.conditions import Observation, conditions
from andante.app.status.problems import problems, short
from andante.app.text import clip
from andante.domain.scaling.engine_capacity import EngineCapacity
from andante.domain.scaling.figures import Missing, NoTraffic, Observed, Stale, value_of
from andante.domain.scaling.memory import VERSION, Memory
from andante.domain.slo.ledger import VERSION as LEDGER_VERSION
from andante.domain.slo.ledger import Spent
from andante.ports import Object

LONGEST_MESSAGE = 1024
"""Characters of a decision's message in the resource."""
LONGEST_PROBLEM = 253
"""Characters of the summary's problem in the resource."""
LEAST_BUDGET = -1e6
"""Least error budget that the summary tells: lower ones count as this."""
MOST_CONDITIONS = 32
"""Conditions in the resource."""


def build_status(observation: Observation, *, memory: Memory | None, now: float) -> LLMServiceStatus:
    """The whole status at `now` (Unix time). Figures that were not measured since the start keep their last value."""
    service, pods = observation.service, observation.pods
    qoe = _qoe(observation.measurement, observation) if observation.measurement else service.status.qoe
    said = conditions(observation, now=now)
    return LLMServiceStatus(
        observed_generation=service.metadata.generation,
        replicas=len(pods.ready) + len(pods.starting),
        ready_replicas=len(pods.ready),
        starting_replicas=len(pods.starting),
        draining_replicas=len(pods.draining),
        selector=selector_text(service),
        summary=Summary(
            ready=f"{len(pods.ready)}/{observation.wanted_replicas}", problem=_problem(said), budget=_budget(qoe)
        ),
        endpoint=endpoint(service),
        engine_version=service.status.engine_version,
        qoe=qoe,
        scaling=_scaling(observation, memory, now),
        conditions=said,
    )


def unreadable_status(obj: Object, problem: str, *, now: float) -> LLMServiceStatus:
    """The last status of a service whose spec this operator cannot read, with a condition that says so."""
    status = LLMServiceStatus.parse(obj)
    before, told = status.condition("SpecValid"), _time(now)
    condition = Condition(
        type="SpecValid",
        status="False",
        reason="SpecUnreadable",
        message=clip(f"nothing of the service is changed until it can be read: {problem}", 2000),
        last_transition_time=before.last_transition_time if before and before.status == "False" else told,
        observed_generation=obj["metadata"].get("generation"),
    )
    others = tuple(c for c in status.conditions if c.type != "SpecValid")
    if status.condition("Ready") is None:
        # The operator did not look at the pods, and an empty condition would say nothing.
        ready = {"type": "Ready", "status": "Unknown", "last_transition_time": told}
        others = (condition.model_copy(update=ready), *others)
    said = (condition, *others)[:MOST_CONDITIONS]
    summary = (status.summary or Summary()).model_copy(update={"problem": _problem(said)})
    return status.model_copy(update={"conditions": said, "summary": summary})


def _problem(said: Iterable[Condition]) -> str | None:
    worst = next(map(short, problems(said)), None)
    return None if worst is None else clip(worst, LONGEST_PROBLEM)


def _budget(qoe: QoEStatus | None) -> str | None:
    if qoe is None or qoe.error_budget_remaining is None:
        return None
    # Before the first measurement the figure is the status' own, which may have been edited.
    return f"{round(100 * min(max(qoe.error_budget_remaining, LEAST_BUDGET), 1.0))}%"


def _time(at: float) -> datetime:
    return datetime.fromtimestamp(int(at), tz=UTC)


def _qoe(measurement: Measurement, observation: Observation) -> QoEStatus:
    budget, ledger = observation.budget, observation.ledger
    figure = measurement.deficit
    states = {Observed: "Observed", Stale: "Stale", Missing: "Missing", NoTraffic: "NoTraffic"}
    return QoEStatus(
        state=states[type(figure)],
        mean=value_of(measurement.mean_qoe),
        good_fraction=value_of(measurement.good_fraction),
        deficit=value_of(figure),
        load_deficit=value_of(measurement.load_deficit),
        idle_deficit=value_of(measurement.idle_deficit),
        worst_class=measurement.worst_class,
        smooth_goodput=value_of(measurement.smooth_goodput),
        error_budget_remaining=budget.remaining if isinstance(budget, Spent) else None,
        observed_at=_time(figure.at) if isinstance(figure, Observed | Stale) else None,
        ledger=ControllerMemory(version=LEDGER_VERSION, state=ledger.to_state()) if ledger and ledger.spans else None,
    )


def _scaling(observation: Observation, memory: Memory | None, now: float) -> ScalingStatus | None:
    service, decision = observation.service, observation.decision
    before = service.status.scaling
    if decision is None:
        return before
    budget = service.spec.scaling.budget
    price = budget.price_per_replica_hour if budget else None
    told = before.decisions if before else ()
    known = {(record.at, record.from_, record.to) for record in told}
    made = (_record(one) for one in reversed(observation.made))
    kept = (*(record for record in made if (record.at, record.from_, record.to) not in known), *told)[:KEPT_DECISIONS]
    step = decision.decisive
    pods = len(observation.pods.ready) + len(observation.pods.starting)
    return ScalingStatus(
        desired=decision.wanted,
        reason=step.reason,
        message=clip(step.message, LONGEST_MESSAGE),
        warmup_seconds=memory.warmup.seconds if memory and memory.warmup.seen else None,
        price_per_hour=None if price is None else price * pods,
        curve=tuple(
            CurvePoint(
                replicas=point.replicas,
                predicted_qoe=round(point.qoe, 2),
                price_per_hour=None if price is None else price * point.replicas,
                value_per_hour=None if point.value is None else round(point.value, 2),
            )
            for point in decision.curve
        ),
        plan_missing=_plan_missing(observation.measurement, memory) if not decision.curve else None,
        decisions=kept,
        memory=ControllerMemory(version=VERSION, state=memory.to_state()) if memory else None,
    )


def _plan_missing(measurement: Measurement | None, memory: Memory | None) -> str | None:
    """Why there is no plan: the first thing that is not known, in the order in which a plan needs them."""
    if measurement is None:
        return None
    demand = measurement.demand
    for figure in (measurement.load_deficit, measurement.open_requests, demand.arrivals, demand.engine):
        if isinstance(figure, Missing | Stale):
            return clip(figure.why, LONGEST_MESSAGE)
    if isinstance(demand.engine, EngineCapacity) and not demand.engine.fitted:
        return NO_FIT
    if memory and memory.plan.lengths:
        return "the demand has been seen for less than one slot since it was last unknown"
    return "no token of an answer was counted yet, so the length of answers is not known"


def _record(made: MadeDecision) -> Decision:
    decision, why, saw = made.decision, made.why, made.inputs
    return Decision(
        at=_time(made.at),
        from_=made.previous,
        to=decision.wanted,
        reason=why.reason,
        message=clip(why.message, LONGEST_MESSAGE),
        inputs=DecisionInputs(
            ready_replicas=saw.ready,
            starting_replicas=saw.starting,
            measured_replicas=saw.measured,
            load_deficit=saw.load_deficit,
            open_requests=saw.open_requests,
            arrivals_per_second=saw.arrivals,
        )
        if saw
        else None,
        steps=tuple(
            DecisionStep(
                name=s.name,
                replicas=s.replicas,
                reason=s.reason,
                message=clip(s.message, LONGEST_MESSAGE),
                clamped=s.clamped,
            )
            for s in decision.steps
        ),
    )
