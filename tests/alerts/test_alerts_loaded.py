"""The condition AlertsLoaded, from what a real Prometheus says of its rules."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from andante.adapters.prometheus_rules import PrometheusRules
from andante.api.v1alpha1 import LLMService
from andante.app.children.prometheus_rule import promise_rules
from andante.app.status.alerts_loaded import alerts_verdict, loaded
from andante.domain.slo.recording import Group
from andante.domain.slo.rules import generic_groups, rule_file
from andante.ports import Unread
from metric_stores import prometheus

SERVICE = LLMService.parse({"metadata": {"name": "chat", "namespace": "team"}, "spec": {"model": {"id": "org/model"}}})
OWN, SHARED = promise_rules(SERVICE, runbook_url=""), generic_groups()
FOREIGN: Group = {"name": "others", "rules": [{"record": "up:sum", "expr": "sum(up)"}]}


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ((*OWN, *SHARED), ("True", "Loaded")),
        ((FOREIGN, *SHARED), ("False", "NotLoaded")),
        ((OWN[0], *SHARED), ("False", "NotLoaded")),
        (OWN, ("False", "NothingRecorded")),
        ((), ("Unknown", "NoRules")),
    ],
    ids=["all", "others only", "a part", "nothing recorded", "none"],
)
async def test_what_prometheus_evaluates_is_what_the_condition_says(
    groups: tuple[Group, ...], expected: tuple[str, str], tmp_path: Path
) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rule_file(groups)))
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump({"rule_files": ["rules.yaml"]}))
    with prometheus("prometheus 3", tmp_path) as url:
        read = await PrometheusRules(url=url, timeout_seconds=20).read()
    assert not isinstance(read, Unread), read
    verdict = alerts_verdict(SERVICE, loaded(read))
    assert (verdict.status, verdict.reason) == expected, verdict
