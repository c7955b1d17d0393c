"""What every alert has in common: its names, how urgent it is, and where its runbook is. Pure."""

from __future__ import annotations

from typing import Any, Final

from andante.domain.slo.burn import Severity

Rule = dict[str, Any]
"""An alerting rule as Prometheus' rule files and PrometheusRules hold it."""

BURN_FAST: Final = "AndanteQoEBudgetBurnFast"
BURN_SLOW: Final = "AndanteQoEBudgetBurnSlow"
BURN_TREND: Final = "AndanteQoEBudgetBurnTrend"
BUDGET_SPENT: Final = "AndanteQoEBudgetSpent"
SERVICE_ALERTS: Final = (BURN_FAST, BURN_SLOW, BURN_TREND, BUDGET_SPENT)
"""In the rules of each service: they hold its promise's numbers."""

KEEP_FIRING: Final = "10m"
"""A page that ends for a minute and begins again wakes nobody twice."""


def alert(
    name: str,
    *,
    expression: str,
    severity: Severity,
    tier: str,
    summary: str,
    description: str,
    runbook_url: str,
    wait: str = "",
) -> Rule:
    """The rule. `wait`: how long the expression must hold. `runbook_url`: with {alert} in place of the name, or empty:
    then the command that prints the runbook takes its place.

    Labels and annotations are Go templates: no text of a tenant may come into them but through `$labels`, which is
    filled in and not read as a template. No label has a value that changes, as each value would be an alert of its own.
    """
    page = severity == "critical"
    runbook = (
        {"runbook_url": runbook_url.replace("{alert}", name)} if runbook_url else {"runbook": f"andante runbook {name}"}
    )
    return {
        "alert": name,
        "expr": expression,
        **({"for": wait} if wait else {}),
        **({"keep_firing_for": KEEP_FIRING} if page else {}),
        "labels": {"severity": severity, "tier": tier},
        "annotations": {"summary": summary, "description": description, **runbook},
    }
