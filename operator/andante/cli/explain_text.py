"""Explains one service in plain words: asked, served, wrong, decided, and what other numbers would do. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from andante.api.v1alpha1 import Condition, Decision, QoEStatus
from andante.api.values import format_duration
from andante.app.pods import containers_of, created_at, is_replica_of, sort_pods
from andante.app.status.events import WITHOUT_EFFECT
from andante.app.status.problems import short
from andante.cli.cluster_reader import NotRead, SeenService
from andante.cli.next_commands import next_command
from andante.cli.plain import plain, plain_lines, span, table
from andante.cli.service_view import OLD_SECONDS, OperatorView, ServiceView, operator_view, seconds, view
from andante.cli.status_text import warning
from andante.ports import Object

MOST_PODS: Final = 12
MOST_EVENTS: Final = 8
MOST_DECISIONS: Final = 5
_OF_STARTING: Final = ("Ready", "Degraded", "RolledOut")
"""Conditions that a pod which does not start can explain, where they name none."""
_POD_NAME: Final = re.compile(r"[a-z0-9]+(?:[-.]+[a-z0-9]+)*")
_LONGEST_MESSAGE: Final = 400


def lines(seen: SeenService) -> Iterator[str]:
    """What a person reads."""
    shown, operator = view(seen.service), operator_view(seen.leases, seen.now)
    yield f"{plain(shown.namespace, 63)}/{plain(shown.name, 63)}: {shown.ready} replicas ready; {_verdict(shown)}"
    told = warning(operator)
    if told:
        yield f"  {told}"
    if shown.status_problem:
        yield f"  the status cannot be read by this version of the command: {shown.status_problem}"
    yield from _asked(shown)
    yield from _served(shown)
    yield f"  figures    {_figures(shown, seen.now)}"
    yield f"  promise    {_promise(shown)}"
    yield f"  operator   {operator.words}{_written(shown, operator, seen.now)}"
    yield from _section("What is wrong, the worst first", _wrong(shown, seen, operator))
    yield from _section("What the scaler wants now", _wants(shown))
    yield from _section("One replica fewer, or more", _curve(shown))
    yield from _section("The last decisions, the newest first", _decisions(shown, seen.now))
    yield from _section("Pods", _pods(seen))
    yield from _section("Events, the newest first", _events(seen))


def document(seen: SeenService) -> dict[str, Any]:
    """The same for programs; what is not known is null or absent."""
    shown, operator = view(seen.service), operator_view(seen.leases, seen.now)
    status = shown.status.to_wire()
    scaling = status.get("scaling") or {}
    qoe = {name: value for name, value in (status.get("qoe") or {}).items() if name != "ledger"}
    return {
        "namespace": shown.namespace,
        "name": shown.name,
        "ready": shown.ready,
        "operator": {"runs": operator.runs, "message": operator.words},
        "statusWritten": shown.written,
        "statusProblem": shown.status_problem or None,
        "specProblem": shown.spec_problem or None,
        "problems": None if shown.status_problem else [_problem(c, shown, seen, operator) for c in shown.problems],
        "qoe": qoe or None,
        "scaling": {name: value for name, value in scaling.items() if name != "memory"} or None,
        "replicas": {name: status.get(f"{name}Replicas") for name in ("ready", "starting", "draining")},
        "notRead": [part.why for part in (seen.events, seen.pods, seen.leases) if isinstance(part, NotRead)],
    }


def _problem(condition: Condition, shown: ServiceView, seen: SeenService, operator: OperatorView) -> dict[str, Any]:
    return {
        "type": condition.type,
        "reason": condition.reason,
        "message": condition.message,
        "since": condition.last_transition_time.isoformat(),
        "next": _next(condition, shown, seen, operator),
    }


def _verdict(shown: ServiceView) -> str:
    bad = shown.problems
    if shown.status_problem:
        return "its state is not known"
    if not bad:
        return "no problem is known" if shown.status.conditions else "no operator has told its state"
    more = f", and {len(bad) - 1} more" if len(bad) > 1 else ""
    return f"{plain(short(bad[0]), 80)}{more}"


def _section(title: str, content: Iterator[str]) -> Iterator[str]:
    yield ""
    yield title
    for line in content:
        yield f"  {line}".rstrip()


def _asked(shown: ServiceView) -> Iterator[str]:
    if shown.spec is None:
        yield f"  asked      the spec cannot be read by this version of the command: {shown.spec_problem}"
        return
    objective, scaling = shown.spec.qoe.objective, shown.spec.scaling
    yield (
        f"  asked      {100 * objective.good_fraction:g}% of the answers with QoE {objective.qoe:g} or more, within"
        f" {format_duration(objective.window)}"
    )
    bounds = f"{scaling.min_replicas} to {scaling.resolved_max_replicas} replicas, by the scaler"
    if scaling.mode != "Auto":
        fixed = scaling.min_replicas if shown.spec.replicas is None else shown.spec.replicas
        bounds = f"{fixed} replicas, as scaling.mode is {scaling.mode}"
    yield f"             {bounds}"
    valid = shown.status.condition("SpecValid")
    if valid and valid.reason == WITHOUT_EFFECT:
        yield f"             {plain(valid.message, _LONGEST_MESSAGE)}"


def _served(shown: ServiceView) -> Iterator[str]:
    status = shown.status
    counts = (("ready", status.ready_replicas), ("starting", status.starting_replicas),
              ("stopping", status.draining_replicas))  # fmt: skip
    words = ", ".join(f"{'not known' if count is None else count} {word}" for word, count in counts)
    yield f"  replicas   {words}"


def _figures(shown: ServiceView, now: float) -> str:
    qoe = shown.status.qoe
    if qoe is None or qoe.state is None:
        return "none: no operator has measured this service yet"
    age = "at a time not known" if qoe.observed_at is None else f"{span(now - qoe.observed_at.timestamp())} ago"
    if qoe.state == "NoTraffic":
        return "no traffic: the engines are measured, no request ended in the last window, and none is open"
    if qoe.state == "Missing":
        return f"missing: nothing could be measured{_cause(shown)}"
    if qoe.state == "Stale":
        return f"stale: the newest sample, taken {age}, is too old to decide on{_cause(shown)}"
    return f"measured {age}: {_values(qoe)}"


def _cause(shown: ServiceView) -> str:
    metrics = shown.status.condition("MetricsAvailable")
    return f": {plain(metrics.message, _LONGEST_MESSAGE)}" if metrics and metrics.message else ""


def _values(qoe: QoEStatus) -> str:
    def number(value: float | None, form: str, unit: str = "") -> str:
        return "not known" if value is None else f"{value:{form}}{unit}"

    worst = f" (worst class: {plain(qoe.worst_class, 63)})" if qoe.worst_class else ""
    good = "no answer ended" if qoe.good_fraction is None else f"{qoe.good_fraction:.1%} of the answers good"
    return (
        f"mean QoE {number(qoe.mean, '.3f')}{worst}, {good}, QoE too low by {number(qoe.deficit, '.3f')} (by"
        f" {number(qoe.load_deficit, '.3f')} because of load, by {number(qoe.idle_deficit, '.3f')} on idle replicas"
        f" too), smooth goodput {number(qoe.smooth_goodput, '.0f', ' tokens/s')}"
    )


def _promise(shown: ServiceView) -> str:
    left, condition = shown.budget_left, shown.status.condition("SLOMet")
    words = "the error budget is not known" if left is None else f"{round(100 * left)}% of the error budget is left"
    return f"{words}: {plain(condition.message, _LONGEST_MESSAGE)}" if condition else words


def _written(shown: ServiceView, operator: OperatorView, now: float) -> str:
    if shown.written is None:
        return ""
    age = now - shown.written
    words = f"; the status was written {span(age)} ago"
    if age > OLD_SECONDS and operator.runs:
        return f"{words}, and has not changed since"
    if age > OLD_SECONDS and operator.runs is None:
        return f"{words}: it has not changed since, or no operator runs"
    return words


def _wrong(shown: ServiceView, seen: SeenService, operator: OperatorView) -> Iterator[str]:
    bad = shown.problems
    if not bad:
        yield "nothing that the operator knows of" if shown.status.conditions else "not known"
    for condition in bad:
        since = condition.last_transition_time.timestamp()
        yield f"{plain(short(condition), 80)}{f', for {span(seen.now - since)}' if since else ''}"
        for line in plain_lines(condition.message):
            yield f"  {line}"
        yield f"  next: {_next(condition, shown, seen, operator)}"


def _next(condition: Condition, shown: ServiceView, seen: SeenService, operator: OperatorView) -> str:
    replicas = _replicas(seen)
    names = {pod["metadata"]["name"] for pod in replicas}
    named = next((word for word in _POD_NAME.findall(condition.message) if word in names), None)
    if named is None and (condition.type in _OF_STARTING or condition.reason == "ReplicasDoNotStart"):
        named = next((pod["metadata"]["name"] for pod in sort_pods(replicas).starting), None)
    return next_command(
        condition.reason,
        namespace=shown.namespace,
        name=shown.name,
        pod=named,
        operator_namespace=operator.namespace,
    )


def _replicas(seen: SeenService) -> list[Object]:
    """The service's own pods; the label alone can be given to any pod."""
    name = seen.service["metadata"]["name"]
    return [] if isinstance(seen.pods, NotRead) else [pod for pod in seen.pods if is_replica_of(pod, name)]


def _wants(shown: ServiceView) -> Iterator[str]:
    scaling = shown.status.scaling
    if scaling is None or scaling.desired is None:
        yield "not known: no operator has decided yet"
        return
    yield f"{scaling.desired} replicas: {plain(scaling.reason, 63)}: {plain(scaling.message, _LONGEST_MESSAGE)}"
    able = shown.status.condition("AbleToScale")
    if able and able.status == "False":
        yield f"held by {plain(able.reason, 63)}: {plain(able.message, _LONGEST_MESSAGE)}"
    warmup = scaling.warmup_seconds
    when = "after a time that is not known yet" if warmup is None else f"{span(warmup)} after its creation"
    yield f"a new replica serves {when}"


def _curve(shown: ServiceView) -> Iterator[str]:
    scaling = shown.status.scaling
    if scaling is None or not scaling.curve:
        why = scaling.plan_missing if scaling and scaling.plan_missing else "the status has no prediction"
        yield f"not known: {plain(why, _LONGEST_MESSAGE)}"
        return
    present = shown.status.replicas
    valued = all(point.value_per_hour is not None for point in scaling.curve)
    rows = [
        [
            str(point.replicas),
            "not known" if point.predicted_qoe is None else f"{point.predicted_qoe:.2f}",
            "not known" if point.price_per_hour is None else f"{point.price_per_hour:g}",
            *((f"{point.value_per_hour:g}",) if valued and point.value_per_hour is not None else ()),
            ", ".join(
                word for word, number in (("now", present), ("wanted", scaling.desired)) if number == point.replicas
            ),
        ]
        for point in scaling.curve
    ]
    value = ["value per hour"] if valued else []
    yield from table(["replicas", "predicted mean QoE", "price per hour", *value, ""], rows)
    if all(point.price_per_hour is None for point in scaling.curve):
        yield "the price is not known: set spec.scaling.budget.pricePerReplicaHour"


def _decisions(shown: ServiceView, now: float) -> Iterator[str]:
    scaling = shown.status.scaling
    if scaling is None or not scaling.decisions:
        yield "none has changed the number of replicas"
        return
    for decision in scaling.decisions[:MOST_DECISIONS]:
        yield from _decision(decision, now)
    more = len(scaling.decisions) - MOST_DECISIONS
    if more > 0:
        yield f"and {more} earlier ones: in --json"


def _decision(decision: Decision, now: float) -> Iterator[str]:
    ago = span(now - decision.at.timestamp())
    yield f"{ago} ago: {decision.from_} -> {decision.to} replicas: {plain(decision.reason, 63)}"
    saw = decision.inputs
    if saw is None:
        yield "  saw      not told"
    else:

        def number(value: float | None, form: str) -> str:
            return "not measured" if value is None else f"{value:{form}}"

        yield (
            f"  saw      {saw.ready_replicas} ready ({saw.measured_replicas} measured), {saw.starting_replicas}"
            f" starting; QoE too low because of load by {number(saw.load_deficit, '.3f')}; open requests"
            f" {number(saw.open_requests, '.0f')}; arrivals per second {number(saw.arrivals_per_second, '.2f')}"
        )
    for step in decision.steps:
        held = " (held it)" if step.clamped else ""
        name = plain(step.name, 63)
        yield (f"  {name:<8} {step.replicas}{held}: {plain(step.reason, 63)}: {plain(step.message, _LONGEST_MESSAGE)}")
    yield f"  result   {decision.to}"


def _pods(seen: SeenService) -> Iterator[str]:
    if isinstance(seen.pods, NotRead):
        yield f"not known: {seen.pods.why}"
        return
    pods = sort_pods(_replicas(seen))
    rows = [
        [plain(pod["metadata"]["name"], 80), word, span(seen.now - created_at(pod)), _restarts(pod), _node(pod)]
        for word, group in (("starting", pods.starting), ("failed", pods.lost), ("stopping", pods.draining),
                            ("ready", pods.ready))
        for pod in group
    ]  # fmt: skip
    yield from table(["NAME", "STATE", "AGE", "RESTARTS", "NODE"], rows[:MOST_PODS]) if rows else ["none"]
    if len(rows) > MOST_PODS:
        yield f"and {len(rows) - MOST_PODS} more"


def _restarts(pod: Object) -> str:
    return str(sum(int(container.get("restartCount") or 0) for container in containers_of(pod)))


def _node(pod: Object) -> str:
    return plain(pod["spec"].get("nodeName") or "none yet", 63)


def _events(seen: SeenService) -> Iterator[str]:
    if isinstance(seen.events, NotRead):
        yield f"not known: {seen.events.why}"
        return
    uid = seen.service["metadata"].get("uid")
    mine: Sequence[Object] = [e for e in seen.events if (e.get("involvedObject") or {}).get("uid") in (uid, None)]
    dated = sorted(((_last(event) or 0.0, event) for event in mine), key=lambda pair: pair[0], reverse=True)
    if not dated:
        yield "none in the last hour or so, for which the API server keeps them"
    for at, event in dated[:MOST_EVENTS]:
        count = int(event.get("count") or 1)
        times = f" ({count} times)" if count > 1 else ""
        kind, reason = plain(event.get("type"), 20), plain(event.get("reason"), 63)
        yield f"{span(seen.now - at)} ago: {kind} {reason}{times}: {plain(event.get('message'), 240)}"


def _last(event: Object) -> float | None:
    return next(
        (at for name in ("lastTimestamp", "eventTime", "firstTimestamp") if (at := seconds(event.get(name)))), None
    )
