"""An operator that scales on a real Prometheus, which asks for a login."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bcrypt
import yaml
from hack.localcluster.api import ControlPlane

from metric_stores import prometheus
from operator_pods import ENGINE_PORT, engines, make_ready, traffic, wait_pods
from operator_process import Namespace, OperatorProcess, wait_for

PASSWORD = "the-right-password"


def _configure(folder: Path) -> None:
    """Prometheus scrapes what targets.json names, and lets `andante` in."""
    job: dict[str, Any] = {"job_name": "engines", "scrape_interval": "1s", "scrape_timeout": "1s"}
    job["fallback_scrape_protocol"] = "PrometheusText0.0.4"  # a fake engine names no type of its text
    job["file_sd_configs"] = [{"files": [str(folder / "targets.json")], "refresh_interval": "1s"}]
    (folder / "prometheus.yaml").write_text(yaml.safe_dump({"scrape_configs": [job]}))
    users = {"andante": bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()}
    (folder / "web.yaml").write_text(yaml.safe_dump({"basic_auth_users": users}))
    (folder / "user").write_text("andante")
    (folder / "password").write_text("a-wrong-password")
    (folder / "targets.json").write_text("[]")


def _wait_cause(ns: Namespace, words: str) -> None:
    def told() -> str:
        return json.dumps(ns.condition("MetricsAvailable"))

    wait_for(f"the cause {words!r}", lambda: words in ns.condition("MetricsAvailable")["message"], told=told)


def test_a_deficit_that_prometheus_saw_buys_replicas(
    control_plane: ControlPlane, namespace: str, ns: Namespace, tmp_path: Path
) -> None:
    _configure(tmp_path)
    access = {"usernameFile": str(tmp_path / "user"), "passwordFile": str(tmp_path / "password")}
    with (
        prometheus("prometheus 3", tmp_path, f"--web.config.file={tmp_path / 'web.yaml'}") as url,
        engines(1) as (engine,),
    ):
        operator = OperatorProcess(
            control_plane, tmp_path, namespaces=[namespace], prometheusURL=f"{url}/", prometheus=access
        ).start()
        try:
            ns.apply(scaling={"minReplicas": 1, "maxReplicas": 3})
            (pod,) = wait_pods(ns, 1)
            make_ready(ns, pod, engine)
            _wait_cause(ns, f"Prometheus at {url}: HTTP 401: Unauthorized")
            # No restart: the password is read for each query.
            (tmp_path / "password").write_text(PASSWORD)
            _wait_cause(ns, "Prometheus has no series of this pod")
            labels = {"namespace": namespace, "pod": pod["metadata"]["name"]}
            targets = [{"targets": [f"{engine.address}:{ENGINE_PORT}"], "labels": labels}]
            (tmp_path / "targets.json").write_text(json.dumps(targets))
            engine.open_requests, engine.open_qoe = 30, 0.4
            with traffic(engine, qoe=0.4):
                wait_for("three replicas", lambda: ns.replicas() == 3, told=lambda: json.dumps(ns.status()))
        finally:
            operator.stop()
    log = operator.log.read_text()
    assert log.count("HTTP 401: Unauthorized") == 1
    assert PASSWORD not in log
    assert "a-wrong-password" not in log
