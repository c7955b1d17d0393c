"""Makes one service's scaling decision: translates objects and figures into the input of the pure law."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from andante.api.v1alpha1 import LLMService
from andante.api.v1alpha1.scaling import ScalingRules as DirectionRules
from andante.app.children import FIELD_MANAGER
from andante.app.pods import Pods, created_at
from andante.app.scaling.measurement import Measurement
from andante.app.scaling.pod_history import Ended
from andante.app.scaling.schedule import floors
from andante.domain.scaling.decide import Decision, Step, decide
from andante.domain.scaling.figures import Figure, Observed, value_of
from andante.domain.scaling.guards import foreign_owner, mode
from andante.domain.scaling.memory import Memory
from andante.domain.scaling.prices import Prices
from andante.domain.scaling.snapshot import (
    Mode,
    OnMetricsMissing,
    RateLimit,
    RateLimits,
    Replicas,
    ScalingRules,
    Snapshot,
)
from andante.domain.slo.ledger import Ledger
from andante.domain.slo.promise import Promise
from andante.ports import Object

KEPT_DECISIONS = 10
"""Newest changes of the wanted number that a service's status tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What a decision was made on, for people; None: not measured."""

    ready: int
    starting: int
    measured: int
    """Ready pods whose figures were read."""
    load_deficit: float | None
    open_requests: float | None
    arrivals: float | None
    """Requests/s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TickResult:
    """The result of the newest scaling tick for one service."""

    measurement: Measurement
    decision: Decision
    memory: Memory
    ledger: Ledger = field(default_factory=Ledger)
    """What was counted for the error budget."""
    inputs: Inputs | None = None

    @property
    def news(self) -> tuple[object, ...]:
        """The part that the status must show at once: not the figures, texts that quote figures, or the memory."""
        steps = tuple((s.name, s.replicas, s.reason, s.clamped) for s in self.decision.steps)
        measured = self.measurement
        figures = (measured.deficit, measured.idle_deficit, measured.good_fraction, measured.open_requests)
        kinds = tuple(type(figure) for figure in figures)
        scheduling = tuple(sorted(measured.scheduling.items()))
        said = (measured.pods_measured, measured.idle_reason, measured.step_time_fitted, scheduling)
        return (self.decision.replicas, self.decision.wanted, steps, kinds, *said)


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeDecision:
    """A decision that wanted another number of replicas than the one before it."""

    at: float
    """Unix time."""
    previous: int
    decision: Decision
    inputs: Inputs | None = None

    @property
    def why(self) -> Step:
        """The step that tells why: the law's where the law asked for this change or for more of it, whatever a guard
        rail left of it; else the guard rail that brought the change about. A number that another field manager sets is
        that manager's change, whatever the law says of it."""
        foreign = next((step for step in self.decision.steps if step.name == foreign_owner.__name__), None)
        if foreign is not None:
            return foreign
        law, wanted = self.decision.steps[0], self.decision.wanted
        asked = law.replicas >= wanted if wanted > self.previous else law.replicas <= wanted
        return law if asked and law.replicas != self.previous else self.decision.decisive

    @property
    def advice(self) -> str | None:
        """The mode by which the decision is advice, and changes nothing; None where it is applied."""
        return next((step.reason for step in self.decision.steps if step.name == mode.__name__), None)

    def told(self) -> dict[str, object]:
        """The decision with its steps, for a log."""
        steps = [{"name": s.name, "replicas": s.replicas, "reason": s.reason} for s in self.decision.steps]
        numbers = {"from": self.previous, "to": self.decision.wanted, "applied": self.advice is None}
        return {**numbers, "reason": self.why.reason, "steps": steps}


def judge(
    service: LLMService,
    *,
    deployment: Object | None,
    pods: Pods,
    measurement: Measurement,
    memory: Memory,
    ledger: Ledger,
    window: float,
    now: float,
) -> TickResult:
    """Decide at `now` (Unix time); `window` is the length of the measurement's window in seconds."""
    replicas = _replicas(service, deployment, pods, now=now)
    decision, learned = decided(
        service, replicas=replicas, measurement=measurement, memory=memory, window=window, now=now
    )
    inputs = Inputs(
        ready=replicas.ready,
        starting=len(replicas.starting_ages),
        measured=measurement.pods_measured,
        load_deficit=value_of(_deficit(measurement, mean_target=_mean_target(service))),
        open_requests=value_of(measurement.open_requests),
        arrivals=value_of(measurement.demand.arrivals),
    )
    return TickResult(measurement=measurement, decision=decision, memory=learned, ledger=ledger, inputs=inputs)


def decided(
    service: LLMService, *, replicas: Replicas, measurement: Measurement, memory: Memory, window: float, now: float
) -> tuple[Decision, Memory]:
    """What the law decides at `now` (Unix time, or any other clock that the memory and the figures follow), and its
    memory for the next decision. `window` as in `judge`. The simulator calls this too: it has no objects to judge."""
    rules = scaling_rules(service, window=window, reach=measurement.reach)
    scheduled = service.spec.scaling.schedule
    if scheduled:
        rules = replace(rules, floors=floors(scheduled, now=now, ahead=memory.warmup.seconds))
    snapshot = snapshot_of(measurement, rules=rules, replicas=replicas, mean_target=_mean_target(service))
    return decide(snapshot, memory, now)


def snapshot_of(
    measurement: Measurement, *, rules: ScalingRules, replicas: Replicas, mean_target: float | None
) -> Snapshot:
    """What the law is shown. `mean_target`: the promised mean QoE; None: a share of good requests is promised."""
    return Snapshot(
        rules=rules,
        replicas=replicas,
        deficit=_deficit(measurement, mean_target=mean_target),
        open_requests=measurement.open_requests,
        open_on_each=tuple(measurement.open_by_pod.values()),
        loss=_loss(measurement, mean_target=mean_target),
        smooth_goodput=measurement.load_goodput,
        throughput=measurement.throughput,
        demand=measurement.demand,
        pods_measured=measurement.pods_measured,
    )


def remembered(service: LLMService) -> Memory:
    """The scaler's memory from the service's status. What happened while no operator looked was not quiet."""
    memory = service.status.scaling.memory if service.status.scaling else None
    return Memory.from_state(memory.version, memory.state).without_quiet() if memory else Memory()


def remembered_ledger(service: LLMService, *, now: float) -> Ledger:
    """The error budget's ledger that the service's status keeps."""
    kept = service.status.qoe.ledger if service.status.qoe else None
    return Ledger.from_state(kept.version, kept.state, now=now) if kept else Ledger()


def counted(ledger: Ledger, ended: Ended, service: LLMService, *, now: float) -> Ledger:
    """The ledger after what ended. What a good request is makes an epoch: sums of two meanings do not add up."""
    if ended.total <= 0:
        return ledger
    objective = service.spec.qoe.objective
    epoch = f"{objective.qoe:g}/{objective.tolerated_delay:g}"
    return ledger.add(at=now, bad=ended.bad, total=ended.total, epoch=epoch, window=objective.window)


def promise(service: LLMService) -> Promise:
    """The promise (SLO) of the resource."""
    return service.spec.qoe.objective.promise


def present_replicas(service: LLMService, deployment: Object | None) -> int:
    """Replicas that the Deployment asks for, or will ask for once it is created."""
    spec = ((deployment or {}).get("spec") or {}).get("replicas")
    if spec is not None:
        return int(spec)
    desired = service.status.scaling.desired if service.status.scaling else None
    scaling = service.spec.scaling
    if scaling.mode != "Auto":
        return service.fixed_replicas
    low, high = scaling.min_replicas, scaling.resolved_max_replicas
    return min(max(low if desired is None else desired, low), high)


def classes_without_qoe(service: LLMService) -> tuple[str, ...]:
    """Names of the classes that do not count in QoE."""
    return tuple(c.name for c in service.spec.qoe.classes if not c.to_domain().expectation().counts_in_qoe)


def foreign_replicas_owner(deployment: Object | None) -> str | None:
    """The other field manager that owns the Deployment's replicas; None while we own them, alone or with others."""
    owners = [
        str(entry.get("manager"))
        for entry in ((deployment or {}).get("metadata") or {}).get("managedFields") or ()
        if "f:replicas" in ((entry.get("fieldsV1") or {}).get("f:spec") or {})
    ]
    return None if FIELD_MANAGER in owners else next(iter(owners), None)


def _replicas(service: LLMService, deployment: Object | None, pods: Pods, *, now: float) -> Replicas:
    warmup_bound = service.spec.rollout.startup_timeout
    return Replicas(
        spec=present_replicas(service, deployment),
        ready=len(pods.ready),
        starting_ages=pods.starting_ages(now),
        overdue_on_a_node=sum(
            now - created_at(pod) > warmup_bound and bool(pod["spec"].get("nodeName")) for pod in pods.starting
        ),
        foreign_owner=foreign_replicas_owner(deployment),
    )


def scaling_rules(service: LLMService, *, window: float, reach: float = 0.0) -> ScalingRules:
    """The user's limits in the law's terms. `window`: length of the measurement's window in seconds; `reach`: how long
    ago the oldest of its samples is, which is longer where samples come seldom or late."""
    scaling, objective = service.spec.scaling, service.spec.qoe.objective
    behavior = scaling.behavior
    mean, share = _mean_target(service), objective.good_fraction
    if scaling.target and scaling.target.good_fraction is not None:
        share = scaling.target.good_fraction
    return ScalingRules(
        mode=Mode(scaling.mode),
        min_replicas=scaling.min_replicas,
        max_replicas=scaling.resolved_max_replicas,
        target_qoe=objective.qoe if mean is None else mean,
        # With a share s of good requests, the mean deficit is at most (1 - s) · objective.
        tolerated_deficit=(1 - share) * objective.qoe if mean is None else 0.0,
        allowed_loss=1 - (share if mean is None else mean),
        counts_good=mean is None,
        pace=_usual_pace(service),
        prices=_prices(service),
        on_metrics_missing=OnMetricsMissing(scaling.on_metrics_missing),
        scale_up_window=behavior.scale_up_window_seconds,
        scale_down_window=behavior.scale_down_window_seconds,
        forecast_window=behavior.forecast_window_seconds,
        plan_window=behavior.plan_window_seconds,
        warmup_bound=service.spec.rollout.startup_timeout,
        settle=max(window, reach),
        longest_gap=window,
        up_limits=_limits(behavior.scale_up),
        down_limits=_limits(behavior.scale_down),
    )


def _mean_target(service: LLMService) -> float | None:
    target = service.spec.scaling.target
    return target.mean_qoe if target else None


def _deficit(measurement: Measurement, *, mean_target: float | None) -> Figure:
    """The deficit for the law: the mean deficit of the requests or, with a mean as the target, target minus mean.

    Only the part that load has caused counts: more replicas cannot reduce the rest.
    """
    figures = (measurement.mean_qoe, measurement.deficit, measurement.load_deficit)
    mean, deficit, load = (value_of(figure) for figure in figures)
    if mean_target is None or mean is None or deficit is None or load is None or not isinstance(figures[0], Observed):
        return measurement.load_deficit
    return Observed(value=max(0.0, mean_target - mean - (deficit - load)), at=figures[0].at)


def _loss(measurement: Measurement, *, mean_target: float | None) -> Figure:
    """What load has cost, in the target's own measure: the share of bad requests or, with a mean as the target, what
    the mean lacks to 1. The part that load has not caused is taken out in the proportion of the deficits."""
    measured = measurement.good_fraction if mean_target is None else measurement.mean_qoe
    deficit, load = value_of(measurement.deficit), value_of(measurement.load_deficit)
    if not isinstance(measured, Observed) or deficit is None or load is None:
        return measured if not isinstance(measured, Observed) else measurement.load_deficit
    part = load / deficit if deficit > 0 else 1.0
    return Observed(value=(1 - measured.value) * part, at=measured.at)


def _prices(service: LLMService) -> Prices | None:
    """The figures of budget mode; None: the scaler keeps the target."""
    budget = service.spec.scaling.budget
    if budget is None or budget.value_per_kilo_smooth_tokens is None or budget.price_per_replica_hour is None:
        return None
    return Prices(replica=budget.price_per_replica_hour, tokens=budget.value_per_kilo_smooth_tokens)


def _usual_pace(service: LLMService) -> float:
    """The pace of readers who say nothing about themselves: the default class's."""
    qoe = service.spec.qoe
    default = next((c for c in qoe.classes if c.name == qoe.resolved_default_class), None)
    return default.to_domain().pace if default else 0.0


def _limits(rules: DirectionRules) -> RateLimits:
    return RateLimits(
        limits=tuple(
            RateLimit(
                replicas=policy.value / 100 if policy.type == "Percent" else policy.value,
                relative=policy.type == "Percent",
                period=policy.period,
            )
            for policy in rules.policies
        ),
        strictest=rules.select_policy == "Min",
        disabled=rules.select_policy == "Disabled",
    )
