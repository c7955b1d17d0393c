"""Defines status: what the operator saw, decided and remembers. Unknown figures are absent."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, ValidationError

from andante.api.rules import list_by
from andante.api.values import APIModel, FreeObject

Timestamp = Annotated[datetime, Field(json_schema_extra={"format": "date-time"})]
Figure = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]


class Condition(APIModel):
    """One aspect of the service's state, by the Kubernetes conventions. Unknown: the state could not be observed."""

    type: Annotated[str, Field(min_length=1, max_length=316)]
    """One of Ready, Progressing, RolledOut, Degraded, EngineCompatible, MetricsAvailable, ScalingActive, AbleToScale,
    SLOMet, AlertsLoaded, ObjectiveUnreachable and SpecValid."""
    status: Literal["True", "False", "Unknown"]
    """True, False or Unknown."""
    reason: Annotated[str, Field(min_length=1, max_length=1024)]
    """One CamelCase word; docs/reference/conditions.md lists them."""
    message: Annotated[str, Field(max_length=32_768)]
    """The reason as a sentence, with the cause."""
    last_transition_time: Timestamp
    """When status last changed."""
    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """Generation of the spec to which this condition refers."""


class ControllerMemory(APIModel):
    """What the operator must not forget over a restart."""

    version: Annotated[int, Field(ge=1)]
    """Format of `state`; an operator that does not know it starts afresh."""
    state: FreeObject
    """The operator's own; not an interface."""


class QoEStatus(APIModel):
    """The measured quality of all replicas over the last scaling window."""

    state: Literal["Observed", "Stale", "Missing", "NoTraffic"] | None = None
    """Whether the figures are measured, too old, missing, or without any request."""
    mean: Figure | None = None
    """Mean QoE of ended and open requests, 0 to 1."""
    good_fraction: Figure | None = None
    """Share of good requests, 0 to 1."""
    deficit: Figure | None = None
    """Mean deficit of the requests, 0 to 1."""
    load_deficit: Figure | None = None
    """The part of the deficit that load has caused. More replicas reduce this part, and the scaler acts on it."""
    idle_deficit: Figure | None = None
    """The part of the deficit that requests would have on an idle replica too; see the condition
    ObjectiveUnreachable."""
    worst_class: str | None = None
    """Class with the lowest mean QoE."""
    smooth_goodput: Figure | None = None
    """Tokens per second minus the penalty for users' idle time; may be negative."""
    error_budget_remaining: Figure | None = None
    """Share of the promised window's error budget that is left, at most 1; below 0: overspent. Absent while the
    requests of the window are too few to say."""
    observed_at: Timestamp | None = None
    """Time of the newest sample in these figures."""
    ledger: ControllerMemory | None = None
    """What was counted for the error budget, by hours and days."""


class CurvePoint(APIModel):
    """One point of the user-experience/cost curve."""

    replicas: Count
    """Number of replicas."""
    predicted_qoe: Figure | None = None
    """Mean QoE that the scaler expects with this number, from the forecast and its errors of the last hour."""
    price_per_hour: Figure | None = None
    """Price of this number of replicas per hour."""
    value_per_hour: Figure | None = None
    """Value per hour of the smooth tokens that the scaler expects with this number, in budget mode."""


class DecisionStep(APIModel):
    """One step of a decision: the law's proposal, or a guard rail that limited it."""

    name: Annotated[str, Field(max_length=63)]
    """Name of the step."""
    replicas: Count
    """Number of replicas after the step."""
    reason: Annotated[str, Field(max_length=63)]
    """Reason, one CamelCase word."""
    message: Annotated[str, Field(max_length=1024)] = ""
    """Reason as a sentence, with the figures."""
    clamped: bool = False
    """Whether this step changed the proposal of the earlier steps."""


class DecisionInputs(APIModel):
    """What a decision was made on. A figure that was not measured is absent, never 0."""

    ready_replicas: Count
    """Pods that served."""
    starting_replicas: Count
    """Pods that did not serve yet."""
    measured_replicas: Count
    """Ready pods whose figures were read."""
    load_deficit: Figure | None = None
    """The deficit by load that the law acted on: with `target.meanQoE`, what the mean lacks to it."""
    open_requests: Figure | None = None
    """Requests in flight on the ready pods."""
    arrivals_per_second: Figure | None = None
    """Requests per second that arrived."""


class Decision(APIModel):
    """One scaling decision that changed the number of replicas, or would have."""

    at: Timestamp
    """Time of the decision."""
    from_: Annotated[int, Field(ge=0)]
    """Replicas before."""
    to: Count
    """Replicas wanted."""
    reason: Annotated[str, Field(max_length=63)]
    """Reason of the decisive step."""
    message: Annotated[str, Field(max_length=1024)] = ""
    """Message of the decisive step."""
    inputs: DecisionInputs | None = None
    """What the scaler saw."""
    steps: Annotated[tuple[DecisionStep, ...], Field(max_length=32)] = ()
    """The steps that led to the decision."""


class ScalingStatus(APIModel):
    """What the scaler wants and why."""

    desired: Annotated[int, Field(ge=0)] | None = None
    """Replicas that the scaler wants."""
    reason: str | None = None
    """Reason, one CamelCase word."""
    message: str | None = None
    """Reason as a sentence."""
    warmup_seconds: Figure | None = None
    """Learned time from a replica's creation until it is ready."""
    price_per_hour: Figure | None = None
    """Price of the present replicas per hour (budget.pricePerReplicaHour)."""
    curve: Annotated[tuple[CurvePoint, ...], Field(max_length=16)] = ()
    """Predicted quality and price of one replica fewer, of the number that the scaler's plan asks for, and of one more.
    Absent where the engines do not tell what a prediction needs; `planMissing` says what."""
    plan_missing: Annotated[str, Field(max_length=1024)] | None = None
    """Why the scaler has no plan, and follows the measured deficit alone; absent where it has one."""
    decisions: Annotated[tuple[Decision, ...], Field(max_length=10)] = ()
    """The last ten decisions, newest first."""
    memory: ControllerMemory | None = None
    """The scaler's memory, which must survive a restart."""


class Summary(APIModel):
    """The status in three short texts, for the columns of `kubectl get lls`; `andante explain` says more."""

    ready: Annotated[str, Field(max_length=63)] | None = None
    """Replicas that serve, of the replicas that there should be, as in 1/3."""
    problem: Annotated[str, Field(max_length=253)] | None = None
    """The worst condition with its reason, as in Degraded:Unschedulable; docs/reference/conditions.md has the order.
    Absent when all is well."""
    budget: Annotated[str, Field(max_length=63)] | None = None
    """The error budget that is left, as in 87%; below 0%: overspent. Absent while it is not known."""


class LLMServiceStatus(APIModel):
    """What the operator saw and decided. A figure that could not be read is absent, never 0."""

    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """Generation of the spec to which this status refers."""
    replicas: Annotated[int, Field(ge=0)] | None = None
    """Pods of the service that are not terminating."""
    ready_replicas: Annotated[int, Field(ge=0)] | None = None
    """Pods that serve."""
    starting_replicas: Annotated[int, Field(ge=0)] | None = None
    """Pods that were created and do not serve yet."""
    draining_replicas: Annotated[int, Field(ge=0)] | None = None
    """Pods that finish their streams and then end."""
    selector: Annotated[str, Field(max_length=1024)] | None = None
    """Label selector of the pods, for the scale subresource."""
    summary: Summary | None = None
    """The status in short."""
    endpoint: Annotated[str, Field(max_length=512)] | None = None
    """URL inside the cluster where the OpenAI API answers."""
    engine_version: Annotated[str, Field(max_length=128)] | None = None
    """vLLM version that the engines report."""
    qoe: QoEStatus | None = None
    """The measured quality."""
    scaling: ScalingStatus | None = None
    """What the scaler wants and why."""
    conditions: Annotated[tuple[Condition, ...], Field(max_length=32, json_schema_extra=list_by("type"))] = ()
    """The conditions of the service."""

    @classmethod
    def parse(cls, obj: Mapping[str, Any]) -> Self:
        """Parse the status that an operator wrote; the CRD's default counts as no status.
        A status that cannot be read is dropped, as the operator writes it again."""
        try:
            status = cls.model_validate(obj.get("status") or {})
        except ValidationError:
            return cls()
        return cls() if any(c.reason == _WAITING for c in status.conditions) else status

    def condition(self, kind: str) -> Condition | None:
        """The condition of type `kind`, or None."""
        return next((c for c in self.conditions if c.type == kind), None)

    def to_wire(self) -> dict[str, Any]:
        """The status in the API's form: without unknown figures, and with figures rounded to 4 decimal places."""
        rounded: dict[str, Any] = _rounded(super().to_wire())
        return rounded


_WAITING: Final = "WaitingForOperator"
UNTOUCHED: Final = LLMServiceStatus(
    summary=Summary(problem=f"Ready:{_WAITING}"),
    conditions=(
        Condition(
            type="Ready",
            status="Unknown",
            reason=_WAITING,
            message="no operator has acted on this service yet. What to do: see whether it runs, with kubectl get pods"
            " --all-namespaces --selector app.kubernetes.io/name=andante-operator",
            last_transition_time=datetime.fromtimestamp(0, tz=UTC),
        ),
    ),
)
"""The CRD's default: the status that the API server shows until an operator writes one."""


def _rounded(value: Any) -> Any:
    # The scaler's memory keeps its digits: a rounded stabilisation time would shift decisions.
    if isinstance(value, Mapping):
        return {k: (v if k in ("memory", "ledger") else _rounded(v)) for k, v in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, 4) if isinstance(value, float) else value
