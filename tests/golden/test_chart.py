"""The chart: what it renders, what it refuses, and that nothing drifts. `make golden` rewrites the golden files."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hack import chart_values

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).parent / "chart"
CASES: dict[str, tuple[str, ...]] = {
    "default": (),
    "two_namespaces": ("--set", "andante-operator.watchNamespaces={team-a,team-b}"),
    "prometheus": (
        *("--set", "andante-operator.prometheusURL=http://prometheus.monitoring:9090"),
        *("--set", "andante-operator.priorityClassName=system-cluster-critical"),
    ),
    "everything": (
        *("--values", str(Path(__file__).parent / "chart_values_everything.yaml")),
        *("--api-versions", "monitoring.coreos.com/v1/PodMonitor"),
    ),
}


@pytest.fixture(scope="session")
def helm() -> str:
    command = [sys.executable, "-m", "hack.localcluster", "binaries", "helm"]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()[0]


def _template(helm: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    fixed = ("--namespace", "andante-system", "--kube-version", "1.34.0")
    command = [helm, "template", "andante", ".", *fixed, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("case", CASES)
def test_the_chart_renders_what_the_golden_file_holds(helm: str, case: str) -> None:
    done = _template(helm, *CASES[case])
    assert done.returncode == 0, done.stderr
    golden = GOLDEN / f"{case}.yaml"
    if os.environ.get("ANDANTE_WRITE_GOLDEN") == "1":
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(done.stdout, encoding="utf-8")
    assert done.stdout == golden.read_text(encoding="utf-8")


def test_helm_lint_finds_nothing(helm: str) -> None:
    done = subprocess.run([helm, "lint", "--strict", "."], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("andante-operator.tickSecond=5", "tickSecond"),
        ("andante-operator.tickSeconds=0", "tickSeconds"),
        ("andante-operator.prometheusURL=prometheus:9090", "prometheusURL"),
        ("andante-operator.image.pullPolicy=Sometimes", "pullPolicy"),
        ("andante-operator.enabled=false", "enabled"),
        ("andante-operator.image.digest=latest", "digest"),
        ("andante-operator.image.repository=reg/op:1.0", "repository"),
        ("andante-operator.uninstall.services=Delete", "services"),
        ("andante-operator.networkPolicy.metricsFrom={all}", "metricsFrom"),
        ("andante-operator.watchNamespaces={Team_A}", "watchNamespaces"),
        ("andante-operator.resources.request.cpu=1", "request"),
        ("andante-operator.enginePodTemplate.containers={x}", "containers"),
        ("operator.tickSeconds=5", "operator"),
    ],
)
def test_a_wrong_value_is_refused_by_name(helm: str, value: str, named: str) -> None:
    done = _template(helm, "--set", value)
    assert done.returncode != 0
    assert named in done.stderr


def test_a_pod_monitor_without_its_kind_is_refused_with_the_way_out(helm: str) -> None:
    done = _template(helm, "--set", "andante-operator.podMonitor.enabled=true")
    assert done.returncode != 0
    assert "Install the Prometheus Operator first" in done.stderr


@pytest.mark.parametrize("case", CASES)
def test_every_pod_meets_the_restricted_level_and_writes_nowhere(helm: str, case: str) -> None:
    """Hooks included; the API server's own verdict: tests/operator/test_chart_lifecycle.py."""
    pods = [
        o["spec"] if o["kind"] == "Pod" else o["spec"]["template"]["spec"]
        for o in yaml.safe_load_all(_template(helm, *CASES[case]).stdout)
        if o and o["kind"] in ("Deployment", "Pod", "Job")
    ]
    assert len(pods) >= 2
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert {"requests", "limits"} <= set(container["resources"])


def test_no_selector_of_the_operator_finds_a_hook_s_pod(helm: str) -> None:
    objects = [o for o in yaml.safe_load_all(_template(helm, *CASES["everything"]).stdout) if o]
    (deployment,) = (o for o in objects if o["kind"] == "Deployment")
    selector = deployment["spec"]["selector"]["matchLabels"]
    hooks = [o["metadata"]["labels"] for o in objects if o["kind"] == "Pod"]
    hooks += [o["spec"]["template"]["metadata"]["labels"] for o in objects if o["kind"] == "Job"]
    assert len(hooks) == 2
    assert all(not selector.items() <= labels.items() for labels in hooks)


def test_the_deployment_s_selector_never_changes(helm: str) -> None:
    """It is immutable: an upgrade that changed it would be refused."""
    (deployment,) = (o for o in yaml.safe_load_all(_template(helm).stdout) if o and o["kind"] == "Deployment")
    assert deployment["spec"]["selector"] == {
        "matchLabels": {"app.kubernetes.io/name": "andante-operator", "app.kubernetes.io/instance": "andante"}
    }


def test_no_rule_grants_everything(helm: str) -> None:
    roles = [o for o in yaml.safe_load_all(_template(helm).stdout) if o and o["kind"] in ("Role", "ClusterRole")]
    assert roles
    for rule in (rule for role in roles for rule in role["rules"]):
        assert "*" not in (*rule["verbs"], *rule["resources"], *rule["apiGroups"])
        assert "secrets" not in rule["resources"]


def test_every_rule_says_why(helm: str) -> None:
    lines = _template(helm, *CASES["everything"]).stdout.splitlines()
    before = [above for above, line in itertools.pairwise(lines) if line.startswith("- apiGroups:")]
    assert before
    assert all(line.startswith("# ") for line in before)


def test_every_value_is_described(helm: str) -> None:
    schema = json.loads((ROOT / "charts" / "andante-operator" / "values.schema.json").read_text())
    values = yaml.safe_load((ROOT / "charts" / "andante-operator" / "values.yaml").read_text())
    assert set(schema["properties"]) == {*values, "global"}

    def undescribed(node: dict[str, Any], path: str) -> Iterator[str]:
        for name, child in node.get("properties", {}).items():
            if not child.get("description"):
                yield f"{path}.{name}"
            yield from undescribed(child, f"{path}.{name}")
        if "items" in node:
            yield from undescribed(node["items"], f"{path}[]")

    assert list(undescribed(schema, "")) == []


def test_the_reference_of_the_values_is_up_to_date() -> None:
    assert chart_values.PAGE.read_text() == chart_values.page()


def test_the_chart_package_holds_the_chart_and_nothing_else(helm: str, tmp_path: Path) -> None:
    subprocess.run([helm, "package", ".", "--destination", str(tmp_path)], cwd=ROOT, check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tgz")
    with tarfile.open(archive) as packed:
        names = {Path(name).relative_to("andante").parts[0] for name in packed.getnames()}
    chart = {"Chart.yaml", "values.yaml", "values.schema.json", "templates", "charts", "crds"}
    assert names == chart | {"README.md", "LICENSE"}
    assert archive.stat().st_size < 100_000


def test_the_chart_names_the_version_of_the_images(helm: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    charts = [
        yaml.safe_load((folder / "Chart.yaml").read_text()) for folder in (ROOT, ROOT / "charts" / "andante-operator")
    ]
    assert {chart["appVersion"] for chart in charts} == {project["version"]}
    assert charts[0]["dependencies"] == [{"name": "andante-operator", "version": charts[1]["version"]}]
    values = yaml.safe_load((ROOT / "charts" / "andante-operator" / "values.yaml").read_text())
    assert values["engineImage"] == f"andante-engine:{project['version']}"
