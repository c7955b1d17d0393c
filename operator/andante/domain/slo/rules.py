"""All rules: those that every Prometheus needs once, and how a file and a PrometheusRule hold them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from andante.domain.slo.alerts import SERVICE_ALERTS
from andante.domain.slo.burn_rules import replayed_rules, service_groups, why_no_alerts
from andante.domain.slo.fleet_alerts import FLEET_ALERTS, fleet_group
from andante.domain.slo.recording import Group, recording_groups

ALERTS: Final = (*SERVICE_ALERTS, *FLEET_ALERTS)
"""Every alert; each has a page in docs/runbooks."""


def generic_groups(*, runbook_url: str = "") -> tuple[Group, ...]:
    """Once for each Prometheus: what the services' own rules read, and the alerts beyond the error budget."""
    return (*recording_groups(), fleet_group(runbook_url=runbook_url))


def rule_file(groups: Iterable[Group]) -> dict[str, Any]:
    """What Prometheus' rule files hold, and the spec of a PrometheusRule."""
    return {"groups": list(groups)}


__all__ = ["ALERTS", "Group", "generic_groups", "replayed_rules", "rule_file", "service_groups", "why_no_alerts"]
