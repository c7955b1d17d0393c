"""From a service's alerts in the cluster to a Prometheus that evaluates them, and back into the status."""

from __future__ import annotations

from pathlib import Path

import yaml
from hack.localcluster.api import ControlPlane

from andante.domain.slo.rules import generic_groups, rule_file
from metric_stores import prometheus
from operator_process import Namespace, OperatorProcess, wait_for


def test_alerts_are_loaded_once_prometheus_has_the_rules_that_the_operator_wrote(
    control_plane: ControlPlane, namespace: str, ns: Namespace, tmp_path: Path
) -> None:
    operator = OperatorProcess(control_plane, tmp_path, namespaces=[namespace]).start()
    try:
        for name in ("chat", "other"):
            ns.apply(name=name)
        written = wait_for("the alerts", lambda: ns.get("configmap", "chat-alerts"), told=operator.tail)
        ns.wait_condition("AlertsLoaded", "Unknown", "NoPrometheus")
    finally:
        operator.stop()
    folder = tmp_path / "prometheus"
    folder.mkdir()
    (folder / "chat.yaml").write_text(written["data"]["rules.yaml"])
    (folder / "generic.yaml").write_text(yaml.safe_dump(rule_file(generic_groups())))
    (folder / "prometheus.yaml").write_text(yaml.safe_dump({"rule_files": ["chat.yaml", "generic.yaml"]}))
    with prometheus("prometheus 3", folder) as url:
        operator.settings["prometheusURL"] = url
        operator.start()
        try:
            assert "evaluates the service's 4 alerts" in ns.wait_condition("AlertsLoaded", "True", "Loaded")
            told = ns.wait_condition("AlertsLoaded", "False", "NotLoaded", name="other")
        finally:
            operator.stop()
    assert "AndanteQoEBudgetBurnFast" in told
