"""docs/how-to/on-call.md, word by word, on a cluster with a real Prometheus Operator and a usual stack's selectors.

The operator's output is read by a real Prometheus, which then scrapes an engine and evaluates the alerts.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from hack.docs import blocks, markdown
from hack.localcluster.binaries import ensure_binaries

from chart_plane import TEAM, Plane
from helm_release import ROOT, SYSTEM, helm_binary
from metric_stores import prometheus
from operator_pods import FakeEngine, engines, serve_all, wait_pods
from operator_process import wait_for
from prometheus_operator import Generated, generated, prometheus_operator

PAGE = next(page for page in markdown.pages() if page.path == "docs/how-to/on-call.md")
STACK, PROMETHEUS = "monitoring", "kube-prometheus-stack-prometheus"
CHART = ("Chart.yaml", "values.yaml", "values.schema.json", ".helmignore", "templates", "charts", "crds")


def _selectors() -> dict[str, Any]:
    """Of the Prometheus that kube-prometheus-stack makes by default: its release's label, in all namespaces."""
    kinds = ("podMonitor", "serviceMonitor", "rule", "probe", "scrapeConfig")
    labelled = {"matchLabels": {"release": "kube-prometheus-stack"}}
    return {f"{kind}Selector": labelled for kind in kinds} | {f"{kind}NamespaceSelector": {} for kind in kinds}


def _shell(plane: Plane) -> dict[str, str]:
    """The environment of a reader: kubectl and helm on PATH, and a cluster."""
    kubectl = ensure_binaries(("kubectl",)).path("kubectl")
    path = f"{kubectl.parent}:{Path(helm_binary()).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "KUBECONFIG": str(plane.plane.kubeconfig)}


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    with engines(1) as (found,):
        yield found


def test_from_a_stack_s_selectors_to_alerts_that_are_loaded(plane: Plane, engine: FakeEngine, tmp_path: Path) -> None:
    folder = tmp_path / "prometheus"
    folder.mkdir()
    (folder / "prometheus.yaml").write_text("{}\n")
    cluster = plane.plane
    with (
        prometheus_operator(cluster, tmp_path),
        prometheus("prometheus 3", folder, "--web.enable-lifecycle") as url,
    ):
        cluster.kubectl("create", "namespace", STACK)
        wanted = {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "Prometheus",
            "metadata": {"name": PROMETHEUS, "namespace": STACK},
            "spec": {"replicas": 1, "serviceAccountName": PROMETHEUS, "portName": "http-web", **_selectors()},
        }
        cluster.kubectl("apply", "-f", "-", stdin=json.dumps(wanted))
        plane.release.install(prometheusURL=url)
        plane.wait_served()

        said = _follow(plane, tmp_path / "reader")
        assert '{"matchLabels":{"release":"kube-prometheus-stack"}}' in said

        with plane.operator(tmp_path):
            plane.team.apply(name="chat")
            plane.team.apply(name="elsewhere", monitoring={"labels": {"release": "another-stack"}})
            serve_all(plane.team, [engine])
            found = wait_for("what the stack's Prometheus is to read", lambda: _whole(plane))
            assert found.jobs() == {f"podMonitor/{SYSTEM}/andante-operator/0", f"podMonitor/{TEAM}/chat/0"}
            found.run_on(url, folder, kubeconfig=cluster.kubeconfig)

            (target,) = wait_for("the engine to be scraped", lambda: _up(url))
            (pod,) = wait_pods(plane.team, 1)
            labels = {"namespace": TEAM, "llmservice": "chat", "pod": pod["metadata"]["name"]}
            assert labels.items() <= target["labels"].items()
            assert "evaluates the service's 4 alerts" in plane.team.wait_condition("AlertsLoaded", "True", "Loaded")
            plane.team.wait_condition("AlertsLoaded", "False", "NotLoaded", name="elsewhere")


def _follow(plane: Plane, folder: Path) -> str:
    """Type the page's commands that this test runs, in a folder with the chart and the page's values; what they say."""
    folder.mkdir()
    for name in CHART:
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
    (values,) = (block.text for block in PAGE.blocks if block.text.startswith("# my-values.yaml"))
    (folder / "my-values.yaml").write_text(values)
    said = ""
    for block in blocks.run_by("tests/operator/test_on_call_page.py", PAGE):
        command = ["bash", "-euc", block.text]
        done = subprocess.run(
            command, cwd=folder, env=_shell(plane), capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr
        said += done.stdout
    return said


def _whole(plane: Plane) -> Generated | None:
    """What the operator made, once all of ours is in it."""
    found = generated(plane.plane, namespace=STACK, name=PROMETHEUS)
    texts = "".join(found.rules.values())
    ours = f"podMonitor/{TEAM}/chat/0" in found.jobs() and f"andante.{TEAM}.chat" in texts and "andante.fleet" in texts
    return found if ours else None


def _up(url: str) -> list[dict[str, Any]]:
    found = requests.get(f"{url}/api/v1/targets?state=active", timeout=10).json()["data"]["activeTargets"]
    return [target for target in found if target["health"] == "up"]
