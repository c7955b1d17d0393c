"""Names the command to type next for each problem of a service; docs/reference/conditions.md has the same. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Final

from andante.app.children import SERVICE_LABEL

_OPERATOR: Final = "kubectl get pods --all-namespaces --selector app.kubernetes.io/name=andante-operator"
_OPERATOR_LOG: Final = "kubectl logs deployment/andante-operator --namespace OPERATOR_NAMESPACE --tail 100"
_POD: Final = "kubectl describe pod POD --namespace NAMESPACE"
_LOG: Final = "kubectl logs POD --namespace NAMESPACE --all-containers --tail 100"
_LOG_BEFORE: Final = "kubectl logs POD --namespace NAMESPACE --previous --tail 100"
_DEPLOYMENT: Final = "kubectl describe deployment NAME --namespace NAMESPACE"
_EDIT: Final = "kubectl edit lls NAME --namespace NAMESPACE"
_RUNBOOK: Final = "andante runbook {} --namespace NAMESPACE --llmservice NAME"

COMMANDS: Final[Mapping[str, str]] = {
    "WaitingForOperator": _OPERATOR,
    "EngineStarting": _LOG,
    "Unschedulable": _POD,
    "ImagePullFailed": _POD,
    "ContainerConfigError": _POD,
    "QuotaExceeded": "kubectl describe quota --namespace NAMESPACE",
    "PodSecurityViolation": "kubectl get namespace NAMESPACE --show-labels",
    "PodsRefused": _DEPLOYMENT,
    "ProgressDeadlineExceeded": _POD,
    "CrashLoop": _LOG_BEFORE,
    "EngineHangs": _LOG,
    "ModelNotFound": _LOG_BEFORE,
    "OutOfMemory": _POD,
    "NameTaken": _EDIT,
    "PodTemplateRefused": _EDIT,
    "NotAllowed": _EDIT,
    "SpecUnreadable": _OPERATOR,
    "WaitingForCleanup": _OPERATOR_LOG,
    "ChildRefused": _OPERATOR_LOG,
    "ChildUnavailable": _OPERATOR_LOG,
    "ChildContested": _OPERATOR_LOG,
    "InternalError": _OPERATOR_LOG,
    "Missing": _RUNBOOK.format("AndanteMetricsMissing"),
    "Stale": _RUNBOOK.format("AndanteMetricsMissing"),
    "Partial": _RUNBOOK.format("AndanteMetricsPartial"),
    "MaxReplicas": _RUNBOOK.format("AndanteAtMaximumWithDeficit"),
    "ForeignOwner": "kubectl get hpa --namespace NAMESPACE",
    "ReplicaHangs": _RUNBOOK.format("AndanteStreamsStalled"),
    "ReplicasDoNotStart": _POD,
    "LoadDoesNotSpread": f"kubectl get pods --namespace NAMESPACE --output wide --selector {SERVICE_LABEL}=NAME",
    "ReplicasDoNotHelp": _LOG,
    "EngineVersionUntested": _RUNBOOK.format("AndanteStockScheduling"),
    "PolicyFailed": _RUNBOOK.format("AndanteStockScheduling"),
    "Reasoning": _EDIT,
    "LongPrompts": _EDIT,
    "PaceAboveDecodeSpeed": _EDIT,
    "EmptyAnswers": _LOG,
    "SlowEngine": _LOG,
    "BudgetSpent": _RUNBOOK.format("AndanteQoEBudgetSpent"),
    "NotLoaded": "kubectl get prometheusrule NAME --namespace NAMESPACE --show-labels",
    "NothingRecorded": "kubectl get prometheusrule --all-namespaces --show-labels",
    "Unhealthy": "kubectl get prometheusrule NAME --namespace NAMESPACE --output yaml",
}
"""By reason. NAMESPACE, NAME, POD and OPERATOR_NAMESPACE stand for the names."""
_WORD: Final = re.compile(r"\b(NAMESPACE|NAME|POD|OPERATOR_NAMESPACE)\b")


def next_command(
    reason: str, *, namespace: str, name: str, pod: str | None = None, operator_namespace: str = "andante-system"
) -> str:
    """The command for a reason; without one of its own, all of the service. `pod`: the pod to look at; None: all."""
    names = {
        "NAMESPACE": shlex.quote(namespace),
        "NAME": shlex.quote(name),
        "POD": f"--selector {SERVICE_LABEL}={shlex.quote(name)}" if pod is None else shlex.quote(pod),
        "OPERATOR_NAMESPACE": shlex.quote(operator_namespace),
    }
    command = COMMANDS.get(reason, "kubectl describe lls NAME --namespace NAMESPACE")
    return _WORD.sub(lambda found: names[found[1]], command)
