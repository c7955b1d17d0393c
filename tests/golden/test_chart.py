"""The chart: what it renders, what it refuses, and that nothing drifts. `make golden` rewrites the golden files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).parent / "chart"
CASES: dict[str, tuple[str, ...]] = {
    "default": (),
    "two_namespaces": ("--set", "andante-operator.watchNamespaces={team-a,team-b}"),
    "prometheus": (
        *("--set", "andante-operator.prometheusURL=http://prometheus.monitoring:9090"),
        *("--set", "andante-operator.priorityClassName=system-cluster-critical"),
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
        ("operator.tickSeconds=5", "operator"),
    ],
)
def test_a_wrong_value_is_refused_by_name(helm: str, value: str, named: str) -> None:
    done = _template(helm, "--set", value)
    assert done.returncode != 0
    assert named in done.stderr


def test_every_container_meets_the_restricted_pod_security_level(helm: str) -> None:
    pods = [
        o["spec"]["template"]["spec"]
        for o in yaml.safe_load_all(_template(helm).stdout)
        if o and o["kind"] == "Deployment"
    ]
    assert pods
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_no_rule_grants_everything(helm: str) -> None:
    roles = [o for o in yaml.safe_load_all(_template(helm).stdout) if o and o["kind"] == "ClusterRole"]
    assert roles
    for rule in (rule for role in roles for rule in role["rules"]):
        assert "*" not in (*rule["verbs"], *rule["resources"], *rule["apiGroups"])
        assert "secrets" not in rule["resources"]


def test_the_chart_package_holds_no_source_code(helm: str, tmp_path: Path) -> None:
    subprocess.run([helm, "package", ".", "--destination", str(tmp_path)], cwd=ROOT, check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tgz")
    assert archive.stat().st_size < 200_000
