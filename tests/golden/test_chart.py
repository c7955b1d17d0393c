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

from andante.app.settings import PrometheusSettings
from andante.domain.slo.rules import generic_groups

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).parent / "chart"
IMAGE = ("--set", "andante-operator.image.repository=registry.example.com/andante-operator")
"""The one value that has no default."""
NO_RULES = ("--set", "andante-operator.prometheusRule.enabled=false")
"""Two golden files with all the rules are enough."""
CASES: dict[str, tuple[str, ...]] = {
    "default": IMAGE,
    "two_namespaces": (*IMAGE, *NO_RULES, "--set", "andante-operator.watchNamespaces={team-a,team-b}"),
    "prometheus": (
        *IMAGE,
        *NO_RULES,
        *("--set", "andante-operator.prometheusURL=http://prometheus.monitoring:9090"),
        *("--set", "andante-operator.priorityClassName=system-cluster-critical"),
    ),
    "everything": (
        *("--values", str(Path(__file__).parent / "chart_values_everything.yaml")),
        *("--api-versions", "monitoring.coreos.com/v1/PodMonitor"),
        *("--api-versions", "monitoring.coreos.com/v1/PrometheusRule"),
    ),
    "registry": (
        *NO_RULES,
        *("--set", "global.imageRegistry=registry.example.com:5000/andante"),
        *("--set-json", 'global.imagePullSecrets=[{"name": "registry"}]'),
    ),
}


@pytest.fixture(scope="session")
def helm() -> str:
    command = [sys.executable, "-m", "hack.localcluster", "binaries", "helm"]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()[0]


def _objects(helm: str, *arguments: str) -> list[dict[str, Any]]:
    done = _template(helm, *arguments)
    assert done.returncode == 0, done.stderr
    return [o for o in yaml.safe_load_all(done.stdout) if o]


def _pods(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The specs of all pods, those of hooks included."""
    return [
        o["spec"] if o["kind"] == "Pod" else o["spec"]["template"]["spec"]
        for o in objects
        if o["kind"] in ("Deployment", "Pod", "Job")
    ]


def _settings(objects: list[dict[str, Any]]) -> dict[str, Any]:
    """operator.yaml."""
    (stored,) = (o for o in objects if o["kind"] == "ConfigMap" and o["metadata"]["name"] == "andante-operator")
    settings: dict[str, Any] = yaml.safe_load(stored["data"]["operator.yaml"])
    return settings


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
    assert done.stdout == golden.read_text(encoding="utf-8"), "run `make golden` and look at the difference"


def test_helm_lint_finds_nothing(helm: str) -> None:
    done = subprocess.run([helm, "lint", "--strict", "."], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("andante-operator.tickSecond=5", "tickSecond"),
        ("andante-operator.tickSeconds=0", "tickSeconds"),
        ("andante-operator.prometheusURL=prometheus:9090", "prometheusURL"),
        ("andante-operator.monitoring.interval=1h", "interval"),
        ("andante-operator.prometheus.token=abc", "token"),
        ("andante-operator.prometheus.bearerToken.secret=a/b", "secret"),
        ("andante-operator.monitoring.labels.release=a b", "release"),
        ("andante-operator.image.pullPolicy=Sometimes", "pullPolicy"),
        ("andante-operator.enabled=false", "enabled"),
        ("andante-operator.image.digest=latest", "digest"),
        ("andante-operator.image.digest=sha256:0123", "digest"),
        ("andante-operator.image.tag=0.1.0@sha256:0", "tag"),
        ("andante-operator.image.repository=reg/op:1.0", "repository"),
        ("andante-operator.engineImage=vllm/vllm-openai@sha256:0123", "engineImage"),
        ("andante-operator.enginePackageFrom=Nowhere", "enginePackageFrom"),
        ("global.imageRegistri=registry.example.com", "imageRegistri"),
        ("global.imageRegistry=https://registry.example.com", "imageRegistry"),
        ("global.imageRegistry=registry.example.com/andante/", "imageRegistry"),
        ("global.imagePullSecrets={registry}", "imagePullSecrets"),
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


LOGIN = "user:hunter2@"


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (f"global.imageRegistry={LOGIN}registry.example.com", "imageRegistry"),
        (f"andante-operator.image.repository={LOGIN}registry.example.com/op", "repository"),
        (f"andante-operator.engineImage={LOGIN}registry.example.com/vllm:1", "engineImage"),
        (f"andante-operator.prometheusURL=https://{LOGIN}prometheus", "prometheusURL"),
        ('global.imagePullSecrets[0].name={"auths":1}', "name"),
        ("andante-operator.imagePullSecrets[0].name=dXNlcjpodW50ZXIy", "name"),
    ],
)
def test_a_login_in_place_of_an_address_or_a_name_is_refused(helm: str, value: str, named: str) -> None:
    """It would stand in a ConfigMap or a pod, which more people may read than Secrets."""
    done = _template(helm, *IMAGE, "--set", value)
    assert done.returncode != 0
    assert named in done.stderr


def test_without_an_image_the_chart_fails_with_one_sentence_that_names_both_ways_on(helm: str) -> None:
    done = _template(helm)
    assert done.returncode != 0
    assert done.stdout == ""
    (told,) = (line for line in done.stderr.splitlines() if line.startswith("Error:"))
    assert "make publish REGISTRY=HOST/PATH" in told
    assert "--set global.imageRegistry=HOST/PATH" in told


@pytest.mark.parametrize(
    ("values", "image"),
    [
        ({"global.imageRegistry": "r.example:5000/a"}, "r.example:5000/a/andante-operator:0.1.0"),
        ({"image.repository": "r.example/op", "image.tag": "v2"}, "r.example/op:v2"),
        ({"image.repository": "r.example/op", "image.digest": f"sha256:{'0' * 64}"}, f"r.example/op@sha256:{'0' * 64}"),
        # A chart that was published names its registry; a mirror has the same image, by the same digest.
        (
            {"image.repository": "r.example/op", "image.digest": f"sha256:{'0' * 64}", "global.imageRegistry": "m/a"},
            f"m/a/andante-operator@sha256:{'0' * 64}",
        ),
        ({"image.repository": "m/a/op", "global.imageRegistry": "m/a"}, "m/a/op:0.1.0"),
    ],
)
def test_the_operator_s_image_is_the_one_that_the_values_name(helm: str, values: dict[str, str], image: str) -> None:
    """The same in the operator's pod, the hook's, and for engine pods."""
    named = {name if name.startswith("global.") else f"andante-operator.{name}": it for name, it in values.items()}
    objects = _objects(helm, *(part for name, value in named.items() for part in ("--set", f"{name}={value}")))
    assert {pod["containers"][0]["image"] for pod in _pods(objects)} == {image}
    assert _settings(objects)["operatorImage"] == image


@pytest.mark.parametrize(
    ("value", "image"),
    [
        ("docker.io/vllm/vllm-openai:v1", "m/a/vllm/vllm-openai:v1"),
        (f"docker.io/vllm/x@sha256:{'0' * 64}", f"m/a/vllm/x@sha256:{'0' * 64}"),
        ("quay.example/vendor/vllm:v1", "quay.example/vendor/vllm:v1"),
    ],
)
def test_with_a_registry_engines_do_not_come_from_docker_io(helm: str, value: str, image: str) -> None:
    objects = _objects(helm, "--set", "global.imageRegistry=m/a", "--set", f"andante-operator.engineImage={value}")
    assert _settings(objects)["engineImage"] == image


def test_pull_secrets_are_given_once_for_operator_hooks_and_engines(helm: str) -> None:
    secrets = ("--set", "global.imagePullSecrets[0].name=all", "--set", "global.imagePullSecrets[1].name=more")
    own = ("--set", "andante-operator.imagePullSecrets[0].name=own")
    objects = _objects(helm, *IMAGE, *secrets, *own, "--set", "andante-operator.uninstall.services=Remove")
    pods = _pods(objects)
    assert len(pods) == 3
    assert all(pod["imagePullSecrets"] == [{"name": "all"}, {"name": "more"}, {"name": "own"}] for pod in pods)
    assert _settings(objects)["engineImagePullSecrets"] == ["all", "more"]


def test_both_charts_have_the_same_globals() -> None:
    charts = (ROOT, ROOT / "charts" / "andante-operator")
    schemas = [json.loads((chart / "values.schema.json").read_text()) for chart in charts]
    assert schemas[0]["properties"]["global"] == schemas[1]["properties"]["global"]
    values = [yaml.safe_load((chart / "values.yaml").read_text()) for chart in charts]
    assert values[0]["global"] == values[1]["global"]


def test_globals_of_other_charts_are_left_alone(helm: str) -> None:
    assert _objects(helm, *IMAGE, "--set", "global.storageClass=fast")


def test_a_prometheus_finds_the_operator_by_the_same_labels_as_the_engines(helm: str) -> None:
    values = ("podMonitor.enabled=true", "monitoring.labels.release=stack", "podMonitor.labels.team=ml")
    values += (r"monitoring.labels.app\.kubernetes\.io/name=mine",)
    given = [part for value in values for part in ("--set", f"andante-operator.{value}")]
    objects = _objects(helm, *IMAGE, *given, "--api-versions", "monitoring.coreos.com/v1/PodMonitor")
    (monitor,) = (o for o in objects if o["kind"] == "PodMonitor")
    labels = monitor["metadata"]["labels"]
    assert (labels["release"], labels["team"]) == ("stack", "ml")
    assert labels["app.kubernetes.io/name"] == "andante-operator"


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (("ca.secret=a", "ca.configMap=b"), "secret or configMap"),
        (("bearerToken.secret=a", "basicAuthSecret=b"), "give one of"),
        (("insecureSkipVerify=true", "ca.secret=a"), "give one of the two"),
    ],
)
def test_two_ways_to_one_prometheus_are_refused(helm: str, values: tuple[str, ...], problem: str) -> None:
    given = [part for value in values for part in ("--set", f"andante-operator.prometheus.{value}")]
    done = _template(helm, *IMAGE, *given)
    assert done.returncode != 0
    assert problem in done.stderr


@pytest.mark.parametrize(
    "values",
    [
        (),
        ("bearerToken.secret=a", "ca.secret=b"),
        ("basicAuthSecret=a", "insecureSkipVerify=true"),
        ("bearerTokenFile=/var/run/secrets/kubernetes.io/serviceaccount/token", "clientCertificateSecret=b"),
    ],
)
def test_the_operator_finds_each_file_of_prometheus_access(helm: str, values: tuple[str, ...]) -> None:
    """The settings are what the operator reads, and name files of the volume alone."""
    given = [part for value in values for part in ("--set", f"andante-operator.prometheus.{value}")]
    objects = _objects(helm, *IMAGE, *given)
    settings = PrometheusSettings.model_validate(_settings(objects)["prometheus"])
    (deployment,) = (o for o in objects if o["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    volumes = [volume["projected"] for volume in pod["volumes"] if volume["name"] == "prometheus"]
    sources = [next(iter(source.values())) for volume in volumes for source in volume["sources"]]
    mounted = {f"/etc/andante-prometheus/{item['path']}" for source in sources for item in source["items"]}
    files = {value for name, value in settings if name.endswith("_file") and value}
    assert {file for file in files if not file.startswith("/var/run/")} == mounted
    assert bool(volumes) == any(mount["name"] == "prometheus" for mount in pod["containers"][0]["volumeMounts"])


def test_a_pod_monitor_without_its_kind_is_refused_with_the_way_out(helm: str) -> None:
    done = _template(helm, *IMAGE, "--set", "andante-operator.podMonitor.enabled=true")
    assert done.returncode != 0
    assert "Install the Prometheus Operator first" in done.stderr


def _generic_rules(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By name, the rules that the chart brings, of whichever kind of object."""
    (found,) = (o for o in objects if o["metadata"]["name"] == "andante-operator-alerts")
    document = found["spec"] if found["kind"] == "PrometheusRule" else yaml.safe_load(found["data"]["rules.yaml"])
    rules = (rule for group in document["groups"] for rule in group["rules"])
    return {rule.get("alert") or rule["record"]: rule for rule in rules}


@pytest.mark.parametrize("kind", ["ConfigMap", "PrometheusRule"])
def test_the_chart_brings_the_generic_rules_as_they_are_in_the_source(helm: str, kind: str) -> None:
    operated = ("--api-versions", "monitoring.coreos.com/v1/PrometheusRule") if kind == "PrometheusRule" else ()
    objects = _objects(helm, *IMAGE, *operated)
    assert {o["kind"] for o in objects if o["metadata"]["name"] == "andante-operator-alerts"} == {kind}
    source = {rule.get("alert") or rule["record"]: rule for group in generic_groups() for rule in group["rules"]}
    del source["AndanteOperatorDown"]  # nothing of this chart scrapes the operator
    assert _generic_rules(objects) == source


def test_rules_name_the_runbooks_of_this_release_and_miss_an_operator_that_is_scraped(helm: str) -> None:
    rules = _generic_rules(_objects(helm, *CASES["everything"]))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert rules["AndanteOperatorDown"]["annotations"]["runbook_url"] == (
        f"https://docs.example.com/{project['version']}/runbooks/AndanteOperatorDown.html"
    )
    assert not [name for name, rule in rules.items() if "runbook" in rule.get("annotations", {})]


@pytest.mark.parametrize("case", CASES)
def test_every_pod_meets_the_restricted_level_and_writes_nowhere(helm: str, case: str) -> None:
    """Hooks included; the API server's own verdict: tests/operator/test_chart_lifecycle.py."""
    pods = _pods(_objects(helm, *CASES[case]))
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
    objects = _objects(helm, *CASES["everything"])
    (deployment,) = (o for o in objects if o["kind"] == "Deployment")
    selector = deployment["spec"]["selector"]["matchLabels"]
    hooks = [o["metadata"]["labels"] for o in objects if o["kind"] == "Pod"]
    hooks += [o["spec"]["template"]["metadata"]["labels"] for o in objects if o["kind"] == "Job"]
    assert len(hooks) == 2
    assert all(not selector.items() <= labels.items() for labels in hooks)


def test_each_dashboard_is_a_config_map_that_grafana_s_sidecar_finds(helm: str) -> None:
    on = ("--set", "andante-operator.dashboards.enabled=true")
    folder = ("--set", "andante-operator.dashboards.annotations.grafana_folder=Andante")
    made = [
        o
        for o in _objects(helm, *IMAGE, *on, *folder)
        if o["kind"] == "ConfigMap" and o["metadata"]["labels"].get("grafana_dashboard") == "1"
    ]
    files = {path.name: path.read_text() for path in (ROOT / "charts/andante-operator/dashboards").glob("*.json")}
    assert {name: text for o in made for name, text in o["data"].items()} == {n: t.strip() for n, t in files.items()}
    assert {o["metadata"]["annotations"]["grafana_folder"] for o in made} == {"Andante"}


def test_the_deployment_s_selector_never_changes(helm: str) -> None:
    """It is immutable: an upgrade that changed it would be refused."""
    (deployment,) = (o for o in _objects(helm, *IMAGE) if o["kind"] == "Deployment")
    assert deployment["spec"]["selector"] == {
        "matchLabels": {"app.kubernetes.io/name": "andante-operator", "app.kubernetes.io/instance": "andante"}
    }


def test_no_rule_grants_everything(helm: str) -> None:
    roles = [o for o in _objects(helm, *IMAGE) if o["kind"] in ("Role", "ClusterRole")]
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
    assert set(schema["properties"]) == set(values)

    def undescribed(node: dict[str, Any], path: str) -> Iterator[str]:
        for name, child in node.get("properties", {}).items():
            if not child.get("description"):
                yield f"{path}.{name}"
            yield from undescribed(child, f"{path}.{name}")
        if "items" in node:
            yield from undescribed(node["items"], f"{path}[]")

    assert list(undescribed(schema, "")) == []


def test_the_reference_of_the_values_is_up_to_date() -> None:
    assert chart_values.PAGE.read_text() == chart_values.page(), "run `make golden` and look at the difference"


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


def test_engines_run_the_vllm_that_the_prebuilt_image_has() -> None:
    values = yaml.safe_load((ROOT / "charts" / "andante-operator" / "values.yaml").read_text())
    recipe = (ROOT / "engine_image" / "Dockerfile").read_text()
    assert f"ARG BASE={values['engineImage']}\n" in recipe
