"""Makes a service's conditions: what is wrong, with the cause from pods and children, and a documented reason. Pure.

docs/reference/conditions.md lists every reason. Unknown means that the operator could not observe the state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from andante.api.v1alpha1 import Condition, LLMService
from andante.app.pods import Pods, containers_of
from andante.app.rollout.progress import is_unfinished, progress_of
from andante.app.scaling.judge import MadeDecision
from andante.app.scaling.measurement import Measurement
from andante.app.status.advice import asked_for, with_advice
from andante.app.status.alerts_loaded import NO_PROMETHEUS, AlertsVerdict
from andante.app.status.without_effect import without_effect
from andante.app.text import clip
from andante.domain.idle_replica import IdleReason
from andante.domain.scaling.decide import Decision
from andante.domain.scaling.figures import Missing, NoTraffic, Observed, Stale
from andante.domain.slo.ledger import Ledger, NothingCounted, Spent, TooFewRequests
from andante.domain.slo.promise import DAY, HOUR
from andante.engine_config import HANG_SECONDS, HANGS, POLICY_FAILED
from andante.ports import Object

Status = Literal["True", "False", "Unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One problem: a documented reason and a sentence."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """The input from which the conditions are made."""

    service: LLMService
    pods: Pods
    deployment: Object | None
    wanted_replicas: int
    spec_problem: Problem | None = None
    child_problems: Sequence[Problem] = ()
    rollout_waits: Problem | None = None
    crash_logs: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """By pod and container name: the last log lines of the crashed container."""
    measurement: Measurement | None = None
    """None until the first tick after a start."""
    decision: Decision | None = None
    made: Sequence[MadeDecision] = ()
    """Decisions that changed the wanted number, oldest first; status may tell of some already."""
    budget: Spent | TooFewRequests | NothingCounted | None = None
    """The promise's error budget; None until it is known what was counted."""
    ledger: Ledger | None = None
    """What it is reckoned from."""
    alerts: AlertsVerdict = NO_PROMETHEUS
    """Whether a Prometheus evaluates the service's alerts."""
    faults: Mapping[str, str] = field(default_factory=dict)
    """By kind of work: the fault that stopped the work for this service only."""


_WAITING = {
    "ErrImagePull": "ImagePullFailed",
    "ImagePullBackOff": "ImagePullFailed",
    "InvalidImageName": "ImagePullFailed",
    "ErrImageNeverPull": "ImagePullFailed",
    "CreateContainerConfigError": "ContainerConfigError",
    "CreateContainerError": "ContainerConfigError",
}
_UNREACHABLE: Mapping[IdleReason, Problem] = {
    IdleReason.REASONING: Problem(reason="Reasoning", message="the model's hidden reasoning before the first token"),
    IdleReason.PROMPT: Problem(reason="LongPrompts", message="prompts that take longer than the first token may"),
    IdleReason.PACE: Problem(reason="PaceAboveDecodeSpeed", message="a pace above the speed at which engines decode"),
    IdleReason.EMPTY: Problem(reason="EmptyAnswers", message="answers that end without a token"),
    IdleReason.SLOW: Problem(
        reason="SlowEngine", message="engines that are slower than their step time, although they serve nothing else"
    ),
}
_MODEL_NOT_FOUND = (
    "RepositoryNotFoundError",
    "is not a local folder and is not a valid model identifier",
    "GatedRepoError",
)


def pod_problem(pods: Pods, crash_logs: Mapping[tuple[str, str], str]) -> Problem | None:
    """The first pod that cannot start, and why."""
    for pod in pods.starting:
        name, status = pod["metadata"]["name"], pod.get("status") or {}
        for condition in status.get("conditions") or ():
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                return _unschedulable(pod, condition.get("message", ""))
        for container in containers_of(pod):
            found = _container_problem(name, container, crash_logs.get((name, container["name"]), ""))
            if found:
                return found
    return None


def _unschedulable(pod: Object, scheduler_says: str) -> Problem:
    asks = asked_for(pod)
    what = f"no node can take pod {pod['metadata']['name']}" + (f", which asks for {asks}" if asks else "")
    message = with_advice("Unschedulable", f"{what}: {scheduler_says}")
    return Problem(reason="Unschedulable", message=message)


def _container_problem(pod: str, container: Mapping[str, Any], log: str) -> Problem | None:
    waiting = (container.get("state") or {}).get("waiting") or {}
    reason = waiting.get("reason", "")
    if reason in _WAITING:
        said = f"pod {pod}: container {container['name']} cannot start: {reason}: {waiting.get('message', '')}"
        return Problem(
            reason=_WAITING[reason], message=with_advice(_WAITING[reason], said, container=container["name"])
        )
    ended = (container.get("lastState") or {}).get("terminated") or {}
    if reason == "CrashLoopBackOff" or (ended and ended.get("exitCode") not in (0, None)):
        log = log or ended.get("message") or ""
        word = "ModelNotFound" if any(sign in log for sign in _MODEL_NOT_FOUND) else "CrashLoop"
        if HANGS in log:
            word = "EngineHangs"
        if ended.get("reason") == "OOMKilled":
            word = "OutOfMemory"
        restarts = container.get("restartCount", 0)
        tail = f"; it last said: {log.strip()[-600:]}" if log.strip() else ""
        code = ended.get("exitCode", "unknown")
        message = f"pod {pod}: container {container['name']} exited with {code}, {restarts} restarts{tail}"
        return Problem(reason=word, message=with_advice(word, message))
    return None


def deployment_problem(deployment: Object | None) -> Problem | None:
    """Why pods could not be created: quota, pod security, a missing ServiceAccount."""
    conditions = {c["type"]: c for c in ((deployment or {}).get("status") or {}).get("conditions") or ()}
    refused, progress = conditions.get("ReplicaFailure", {}), conditions.get("Progressing", {})
    if refused.get("status") == "True":
        message = refused.get("message", "")
        if "exceeded quota" in message or "failed quota" in message:
            return Problem(reason="QuotaExceeded", message=with_advice("QuotaExceeded", message))
        if "violates PodSecurity" in message:
            return Problem(reason="PodSecurityViolation", message=with_advice("PodSecurityViolation", message))
        return Problem(reason="PodsRefused", message=message)
    if progress.get("reason") == "ProgressDeadlineExceeded":
        return Problem(reason="ProgressDeadlineExceeded", message=progress.get("message", ""))
    return None


def conditions(observation: Observation, *, now: float) -> tuple[Condition, ...]:
    """All conditions at `now` (Unix time). A condition's transition time changes only with its status."""
    before = {c.type: c for c in observation.service.status.conditions}
    at = datetime.fromtimestamp(int(now), tz=UTC)
    return tuple(
        Condition(
            type=kind,
            status=status,
            reason=reason,
            message=clip(message, 2000),
            last_transition_time=before[kind].last_transition_time
            if kind in before and before[kind].status == status
            else at,
            observed_generation=observation.service.metadata.generation,
        )
        for kind, status, reason, message in _verdicts(observation)
    )


def _verdicts(o: Observation) -> Iterable[tuple[str, Status, str, str]]:
    below = pod_problem(o.pods, o.crash_logs) or deployment_problem(o.deployment) or _hang(o)
    if o.spec_problem:
        yield "SpecValid", "False", o.spec_problem.reason, o.spec_problem.message
    elif idle := without_effect(o.service):
        yield "SpecValid", "True", "FieldsWithoutEffect", "; ".join(idle)
    else:
        yield "SpecValid", "True", "Valid", "the operator can act on every field"
    yield _ready(o, below)
    yield _progressing(o)
    yield _rolled_out(o)
    problem = o.spec_problem or next(iter(o.child_problems), None) or below or _internal(o)
    if problem:
        yield "Degraded", "True", problem.reason, problem.message
    else:
        yield "Degraded", "False", "AsWanted", "no problem of a pod or another object is known"
    yield _compatible(o)
    yield _metrics(o)
    yield from _scaling(o)
    yield _slo(o)
    yield "AlertsLoaded", o.alerts.status, o.alerts.reason, o.alerts.message
    yield _unreachable(o)


def _internal(o: Observation) -> Problem | None:
    """A fault of the operator itself, or an object that the operator cannot use."""
    if not o.faults:
        return None
    kind, text = min(o.faults.items())
    message = f"the {kind} of the operator failed for this service alone: {text}"
    return Problem(reason="InternalError", message=with_advice("InternalError", message))


def _hang(o: Observation) -> Problem | None:
    """The first replica whose engine makes no step. The words stay the same while it hangs."""
    timeout = o.service.spec.engine.hang_timeout
    seconds = timeout or HANG_SECONDS
    silent = o.measurement.silent if o.measurement else {}
    hung = sorted(name for name, since in silent.items() if since >= seconds)
    if not hung:
        return None
    more = f" (and {len(hung) - 1} more)" if len(hung) > 1 else ""
    then = (
        "it gets no new requests, and the kubelet starts it again within two minutes"
        if timeout
        else "and is not started again, as spec.engine.hangTimeout is 0s"
    )
    message = f"pod {hung[0]}{more}: requests are open, and its engine has made no step for {seconds:.0f} s; {then}"
    return Problem(reason="EngineHangs", message=with_advice("EngineHangs", message))


def _ready(o: Observation, below: Problem | None) -> tuple[str, Status, str, str]:
    ready = len(o.pods.ready)
    if ready:
        return "Ready", "True", "Serving", f"{ready} of {o.wanted_replicas} replicas serve"
    if o.spec_problem:
        return "Ready", "False", o.spec_problem.reason, o.spec_problem.message
    if below:
        return "Ready", "False", below.reason, below.message
    if o.wanted_replicas == 0:
        return "Ready", "False", "ScaledToZero", "spec.replicas is 0"
    return "Ready", "False", "EngineStarting", f"0 of {o.wanted_replicas} replicas serve; the engine is loading"


def _progressing(o: Observation) -> tuple[str, Status, str, str]:
    starting, draining, ready = len(o.pods.starting), len(o.pods.draining), len(o.pods.ready)
    if starting or draining or ready != o.wanted_replicas:
        words = f"{ready} of {o.wanted_replicas} replicas are ready; {starting} starting; {draining} stopping"
        return "Progressing", "True", "ReplicasChanging", words
    return "Progressing", "False", "Settled", f"{ready} replicas, as wanted"


def _rolled_out(o: Observation) -> tuple[str, Status, str, str]:
    """Whether all pods have the newest template."""
    if o.spec_problem:
        return "RolledOut", "False", o.spec_problem.reason, o.spec_problem.message
    if o.rollout_waits:
        return "RolledOut", "False", o.rollout_waits.reason, o.rollout_waits.message
    if o.deployment is None:
        return "RolledOut", "Unknown", "NoDeployment", "the Deployment is not there yet"
    if not is_unfinished(o.deployment):
        return "RolledOut", "True", "UpToDate", "all pods have the newest template"
    progress, status = progress_of(o.deployment), o.deployment.get("status") or {}
    if progress.get("reason") == "ProgressDeadlineExceeded":
        return "RolledOut", "False", "ProgressDeadlineExceeded", progress.get("message", "")
    words = f"{status.get('updatedReplicas') or 0} of {status.get('replicas') or 0} pods have the newest template"
    return "RolledOut", "False", "RollingOut", words


def _compatible(o: Observation) -> tuple[str, Status, str, str]:
    said = o.measurement.scheduling if o.measurement else {}
    failed = sorted((pod, why) for pod, why in said.items() if why and why.startswith(POLICY_FAILED))
    if failed:
        pod, why = failed[0]
        others = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
        what = "until it restarts vLLM's own scheduling runs there, without regard to QoE"
        message = f"pod {pod}{others}: {why}; {what}"
        return "EngineCompatible", "False", "PolicyFailed", message
    untested = {pod: why for pod, why in said.items() if why and why.startswith("untested")}
    if untested:
        pod, why = next(iter(sorted(untested.items())))
        message = f"pod {pod}: {why}; vLLM's own scheduling runs, without regard to QoE"
        return "EngineCompatible", "False", "EngineVersionUntested", message
    if not said or all(why is None for why in said.values()):
        return "EngineCompatible", "Unknown", "NotReported", "no engine has said yet which scheduling it runs"
    if any(why for why in said.values()):
        why = next(why for why in said.values() if why)
        return "EngineCompatible", "True", "StockScheduling", f"vLLM's own scheduling runs, as asked for: {why}"
    return "EngineCompatible", "True", "PolicyActive", "the engines run the QoE policy"


def _metrics(o: Observation) -> tuple[str, Status, str, str]:
    fault = _internal(o)
    if fault:
        return "MetricsAvailable", "Unknown", fault.reason, fault.message
    if o.measurement is None:
        return "MetricsAvailable", "Unknown", "NotReadYet", "the operator started a moment ago and has not measured yet"
    figure, ready = o.measurement.deficit, len(o.pods.ready)
    if isinstance(figure, Stale):
        return "MetricsAvailable", "False", "Stale", figure.why
    if isinstance(figure, Missing):
        status: Status = "False" if ready else "Unknown"
        return "MetricsAvailable", status, "Missing" if ready else "NoReplicas", figure.why
    if o.measurement.pods_measured < ready:
        words = f"metrics of {o.measurement.pods_measured} of {ready} ready pods"
        return (
            "MetricsAvailable",
            "False",
            "Partial",
            f"{words}; {o.measurement.unread}" if o.measurement.unread else words,
        )
    if isinstance(figure, NoTraffic):
        return "MetricsAvailable", "True", "NoTraffic", "measured; there are no requests"
    return "MetricsAvailable", "True", "Measured", f"metrics of all {ready} ready pods"


def _scaling(o: Observation) -> Iterable[tuple[str, Status, str, str]]:
    mode = o.service.spec.scaling.mode
    if mode != "Auto":
        yield "ScalingActive", "False", mode, f"scaling.mode is {mode}: spec.replicas counts"
    elif (fault := _internal(o)) is not None:
        yield "ScalingActive", "Unknown", fault.reason, f"the replicas stay as they are: {fault.message}"
    elif o.decision is None:
        yield "ScalingActive", "Unknown", "NotDecidedYet", "the operator started a moment ago and has not measured yet"
    elif o.decision.steps[0].reason == "MetricsMissing":
        yield "ScalingActive", "False", "MetricsMissing", o.decision.decisive.message
    else:
        step = o.decision.decisive
        yield "ScalingActive", "True", step.reason, step.message
    limiting = ("ForeignOwner", "MaxReplicas", "RateLimited")
    # Outside Auto the decision is advice: what limits it keeps nothing from the number that the spec asks for.
    steps = o.decision.steps if o.decision and mode == "Auto" else ()
    limit = next((s for s in steps if s.clamped and s.reason in limiting), None)
    limit = limit or next((s for s in steps if s.reason == "ForeignOwner"), None)
    unable = deployment_problem(o.deployment)
    if unable:
        yield "AbleToScale", "False", unable.reason, unable.message
    elif limit:
        yield "AbleToScale", "False", limit.reason, limit.message
    else:
        yield "AbleToScale", "True", "Free", "no limit keeps Andante from the number of replicas that it wants"


def _slo(o: Observation) -> tuple[str, Status, str, str]:
    """Whether the promise is kept over its whole window."""
    objective, budget = o.service.spec.qoe.objective, o.budget
    period = _period(objective.window)
    figure = o.measurement.good_fraction if o.measurement else Missing(why="not measured yet")
    if isinstance(figure, Missing | Stale):
        # What was counted before says nothing of what readers get now.
        return "SLOMet", "Unknown", "NotMeasured", figure.why
    if budget is None or isinstance(budget, NothingCounted):
        return "SLOMet", "Unknown", "NoTraffic", f"no request was counted in the last {period}"
    if isinstance(budget, TooFewRequests):
        words = f"{budget.total:.0f} requests in the last {period} are too few: less than one of them may be bad"
        return "SLOMet", "Unknown", "TooFewRequests", words
    allowed = (1 - objective.good_fraction) * budget.total
    words = f"{budget.bad:.0f} of {budget.total:.0f} requests of the last {period} were bad, {allowed:.0f} may be"
    if budget.remaining < 0:
        return "SLOMet", "False", "BudgetSpent", f"{words}: the error budget is overspent"
    left = f"{words}: {budget.remaining:.0%} of the error budget is left"
    if budget.exhausted_in is not None and budget.exhausted_in < objective.window:
        left += f"; it is spent in {_period(budget.exhausted_in)} if the last hours go on"
    return "SLOMet", "True", "BudgetLeft", left


def _period(seconds: float) -> str:
    """In whole days, or hours."""
    length, unit = (DAY, "days") if seconds >= 2 * DAY else (HOUR, "hours")
    return f"{max(1, round(seconds / length))} {unit}"


def _unreachable(o: Observation) -> tuple[str, Status, str, str]:
    """Whether idle replicas would miss the objective too: then no number of replicas is enough."""
    figure = o.measurement.idle_deficit if o.measurement else Missing(why="not measured yet")
    if isinstance(figure, NoTraffic):
        return "ObjectiveUnreachable", "Unknown", "NoTraffic", "no request ended in the last window"
    if o.measurement is None or not isinstance(figure, Observed):
        why = figure.why if isinstance(figure, Missing | Stale) else "not measured yet"
        return "ObjectiveUnreachable", "Unknown", "NotMeasured", why
    objective = o.service.spec.qoe.objective
    tolerated = (1 - objective.good_fraction) * objective.qoe
    words = f"on an idle replica QoE would be {figure.value:.3f} too low ({tolerated:.3f} is allowed)"
    if not o.measurement.step_time_fitted:
        words += " (an estimate: not all engines have fitted their step time)"
    if figure.value <= tolerated:
        return "ObjectiveUnreachable", "False", "Reachable", words
    if o.measurement.idle_reason is None:
        return (
            "ObjectiveUnreachable",
            "Unknown",
            "NotMeasured",
            f"{words}; the cause is not known before a request has ended",
        )
    problem = _UNREACHABLE[o.measurement.idle_reason]
    message = with_advice(
        problem.reason, f"more replicas cannot meet the objective: even {words}. The cause: {problem.message}"
    )
    return "ObjectiveUnreachable", "True", problem.reason, message
