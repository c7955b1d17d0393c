"""Judges whether a Prometheus evaluates a service's alerts, and the rules that these read. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from andante.api.v1alpha1 import LLMService
from andante.app.children.prometheus_rule import promise_rules
from andante.domain.slo.recording import recording_groups
from andante.domain.slo.rules import why_no_alerts
from andante.ports import LoadedRule, Unread

Loaded = Mapping[str, Mapping[str, str]]
"""By group and name of a rule: why its last evaluation failed, or an empty text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertsVerdict:
    """What the condition AlertsLoaded says."""

    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str


NO_PROMETHEUS: Final = AlertsVerdict(
    status="Unknown",
    reason="NoPrometheus",
    message="the chart value prometheusURL names no Prometheus that could be asked",
)
NOT_READ_YET: Final = AlertsVerdict(
    status="Unknown", reason="NotReadYet", message="the operator started a moment ago and has not asked Prometheus yet"
)

_SHARED: Final = recording_groups()


def loaded(rules: Iterable[LoadedRule]) -> Loaded:
    """The rules by group and name; of two of the same name, the one that failed."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for rule in rules:
        found[rule.group][rule.name] = found[rule.group].get(rule.name) or rule.error
    return found


def alerts_verdict(service: LLMService, seen: Loaded | Unread) -> AlertsVerdict:
    """The condition of one service, from what Prometheus said last."""
    objective, classes = service.spec.qoe.objective, [c.to_domain() for c in service.spec.qoe.classes]
    why = why_no_alerts(objective.promise, classes)
    if not service.spec.monitoring.prometheus_rule:
        why = "spec.monitoring.prometheusRule is false"
    if why is not None:
        return AlertsVerdict(status="Unknown", reason="NoAlerts", message=f"the service has no alerts: {why}")
    if isinstance(seen, Unread):
        return AlertsVerdict(status="Unknown", reason="RulesUnread", message=seen.why)
    if not seen:
        return AlertsVerdict(
            status="Unknown",
            reason="NoRules",
            message="the server of prometheusURL evaluates no rules at all; others may evaluate them for it",
        )
    own = promise_rules(service, runbook_url="")
    for groups, reason, advice in (
        (own, "NotLoaded", "does its ruleSelector match the labels of the PrometheusRule, or its rule_files the file?"),
        (_SHARED, "NothingRecorded", "the alerts read these rules: set the chart value prometheusRule.enabled"),
    ):
        wanted = [(group["name"], rule.get("alert") or rule["record"]) for group in groups for rule in group["rules"]]
        missing = sorted({name for group, name in wanted if name not in seen.get(group, {})})
        if missing:
            names = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
            return AlertsVerdict(
                status="False", reason=reason, message=f"Prometheus does not evaluate {names}: {advice}"
            )
        failed = [(name, seen[group][name]) for group, name in wanted if seen[group][name]]
        if failed:
            name, error = failed[0]
            return AlertsVerdict(
                status="False", reason="Unhealthy", message=f"Prometheus cannot evaluate {name}: {error}"
            )
    count = sum(len(group["rules"]) for group in own)
    return AlertsVerdict(status="True", reason="Loaded", message=f"Prometheus evaluates the service's {count} alerts")
