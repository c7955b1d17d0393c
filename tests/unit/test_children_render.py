"""The children of a service: what a change of the spec changes in them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from andante import __version__
from andante.api.v1alpha1 import LLMService
from andante.app.children import POD_MONITOR, PROMETHEUS_RULE, PodTemplateError, pods_use, render
from andante.app.settings import MonitoringSettings, OperatorSettings, SettingsError
from andante.engine_config import EngineConfig, QoESettings

SETTINGS = OperatorSettings(
    engine_image="engine:1", operator_image="operator:1", operator_namespace="andante-system", allow_host_path=True
)
MODEL: dict[str, Any] = {"id": "org/model"}


def children(*, replicas: int | None = 1, crds: tuple[str, ...] = (), **spec: Any) -> dict[str, dict[str, Any]]:
    raw = {"metadata": {"name": "chat", "namespace": "prod", "uid": "u-1"}, "spec": {"model": MODEL, **spec}}
    service = LLMService.parse(copy.deepcopy(raw))
    rendered = render(service, settings=SETTINGS, replicas=replicas, installed_crds=crds)
    return {child["kind"]: child for child in rendered if not child["metadata"]["name"].endswith("-alerts")}


def template(**spec: Any) -> dict[str, Any]:
    found: dict[str, Any] = children(**spec)["Deployment"]["spec"]["template"]
    return found


def engine(**spec: Any) -> dict[str, Any]:
    found: dict[str, Any] = template(**spec)["spec"]["containers"][0]
    return found


def test_every_child_is_owned_and_labelled() -> None:
    for child in children(crds=(POD_MONITOR.crd,), networkPolicy={"enabled": True}).values():
        assert child["metadata"]["namespace"] == "prod"
        assert child["metadata"]["labels"]["andante.dev/llmservice"] == "chat"
        (owner,) = child["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"], owner["controller"]) == ("LLMService", "u-1", True)


def test_the_deployment_comes_last_so_that_its_pods_find_everything() -> None:
    assert list(children())[-1] == "Deployment"


def test_optional_children_appear_only_when_they_are_wanted_and_possible() -> None:
    assert set(children()) == {"ServiceAccount", "ConfigMap", "Service", "PodDisruptionBudget", "Deployment"}
    assert "NetworkPolicy" in children(networkPolicy={"enabled": True})
    assert "PodMonitor" in children(crds=(POD_MONITOR.crd,))
    assert "PodMonitor" not in children(crds=(POD_MONITOR.crd,), monitoring={"podMonitor": False})


def pod_monitor(**monitoring: Any) -> dict[str, Any]:
    return children(crds=(POD_MONITOR.crd,), monitoring=monitoring)["PodMonitor"]


def scraped(**monitoring: Any) -> dict[str, Any]:
    endpoint: dict[str, Any]
    (endpoint,) = pod_monitor(**monitoring)["spec"]["podMetricsEndpoints"]
    return endpoint


def test_a_prometheus_finds_the_pod_monitor_by_the_labels_of_the_chart_and_of_the_service() -> None:
    given = MonitoringSettings(labels={"release": "prometheus", "team": "site", "app.kubernetes.io/instance": "x"})
    raw = {"metadata": {"name": "chat"}, "spec": {"model": MODEL, "monitoring": {"labels": {"team": "chat"}}}}
    raw["spec"]["monitoring"]["labels"]["andante.dev/llmservice"] = "other"
    settings = SETTINGS.model_copy(update={"monitoring": given})
    (monitor,) = (
        child
        for child in render(LLMService.parse(raw), settings=settings, replicas=1, installed_crds=(POD_MONITOR.crd,))
        if child["kind"] == "PodMonitor"
    )
    labels = monitor["metadata"]["labels"]
    assert (labels["release"], labels["team"]) == ("prometheus", "chat")
    assert (labels["app.kubernetes.io/instance"], labels["andante.dev/llmservice"]) == ("chat", "chat")


def test_a_service_is_scraped_as_often_as_it_asks() -> None:
    assert [scraped()["interval"], scraped(interval="1m")["interval"]] == ["15s", "60s"]
    assert scraped(interval="7.5s")["interval"] == "7500ms"  # Prometheus reads no fractions


def test_only_pods_that_answer_are_scraped() -> None:
    kept = {tuple(rule["sourceLabels"]): rule["regex"] for rule in scraped()["relabelings"] if rule["action"] == "keep"}
    assert kept == {("__meta_kubernetes_pod_container_name",): "engine", ("__meta_kubernetes_pod_ready",): "true"}


def test_no_rule_of_the_author_s_puts_series_under_another_name() -> None:
    wrong = [{"targetLabel": label, "replacement": "other"} for label in ("namespace", "pod", "llmservice")]
    last = scraped(relabelings=wrong)["relabelings"][-3:]
    assert {rule["targetLabel"]: rule["sourceLabels"] for rule in last} == {
        "namespace": ["__meta_kubernetes_namespace"],
        "pod": ["__meta_kubernetes_pod_name"],
        "llmservice": ["__meta_kubernetes_pod_label_andante_dev_llmservice"],
    }
    last = scraped(metricRelabelings=wrong)["metricRelabelings"][-2:]
    assert {rule["targetLabel"]: rule["replacement"] for rule in last} == {"namespace": "prod", "llmservice": "chat"}


def test_buckets_are_dropped_on_request() -> None:
    assert "metricRelabelings" not in scraped()
    (rule,) = scraped(histogramBuckets=False)["metricRelabelings"]
    assert rule == {"action": "drop", "sourceLabels": ["__name__"], "regex": ".+_bucket"}


def test_replicas_are_left_out_on_request() -> None:
    assert children(replicas=3)["Deployment"]["spec"]["replicas"] == 3
    assert children(replicas=0)["Deployment"]["spec"]["replicas"] == 0
    assert "replicas" not in children(replicas=None)["Deployment"]["spec"]


def test_a_change_of_the_engine_rolls_the_pods() -> None:
    assert template() != template(engine={"scheduler": {"policy": "fcfs"}})
    assert template() != template(model={**MODEL, "maxModelLen": 4096})


def test_a_change_of_the_classes_does_not_roll_the_pods() -> None:
    other = {"classes": [{"name": "voice", "weight": 3}], "objective": {"qoe": 0.9}}
    assert template() == template(qoe=other)
    assert children()["ConfigMap"] != children(qoe=other)["ConfigMap"]


def test_a_change_of_the_scaling_touches_no_child() -> None:
    assert children() == children(scaling={"maxReplicas": 9, "mode": "Manual"})


def test_the_config_files_are_what_the_engine_reads() -> None:
    data = children(qoe={"classes": [{"name": "voice"}, {"name": "batch"}]})["ConfigMap"]["data"]
    assert EngineConfig.model_validate(yaml.safe_load(data["engine.yaml"])).model.served_name == "chat"
    settings = QoESettings.model_validate(yaml.safe_load(data["qoe.yaml"]))
    assert [c.name for c in settings.classes] == ["voice", "batch"]
    assert settings.default_class == "voice"


def test_the_grace_period_covers_the_wait_and_the_whole_drain() -> None:
    spec = template(rollout={"drainTimeout": "90s"})["spec"]
    command = spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    wait = float(command[command.index("--wait") + 1])
    config = children(rollout={"drainTimeout": "90s"})["ConfigMap"]["data"]["engine.yaml"]
    drain = EngineConfig.model_validate(yaml.safe_load(config)).shutdown_timeout_seconds
    assert drain == 90
    assert spec["terminationGracePeriodSeconds"] > wait + drain


def test_loading_is_told_from_broken() -> None:
    container = engine(rollout={"startupTimeout": "1h"})
    startup, liveness = container["startupProbe"], container["livenessProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] == 3600
    assert liveness["periodSeconds"] * liveness["failureThreshold"] <= 60


def test_gpus_are_asked_for_and_their_taint_is_tolerated() -> None:
    pod = template(engine={"gpusPerReplica": 4, "resourceName": "amd.com/gpu"})["spec"]
    assert pod["containers"][0]["resources"]["limits"] == {"amd.com/gpu": "4"}
    assert pod["tolerations"] == [{"key": "amd.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]


def test_gpus_that_work_together_get_shared_memory() -> None:
    shm = {"name": "shm", "mountPath": "/dev/shm"}
    assert shm in engine(engine={"gpusPerReplica": 2})["volumeMounts"]
    assert shm not in engine()["volumeMounts"]


def test_offloaded_kv_gets_shared_memory() -> None:
    offloading = engine(engine={"scheduler": {"kvOffloadGiB": 8}})
    assert {"name": "shm", "mountPath": "/dev/shm"} in offloading["volumeMounts"]


def test_a_virtual_gpu_asks_for_none() -> None:
    pod = template(engine={"gpusPerReplica": 0, "virtualGPU": {"profile": "llama-3-8b-1xa100"}})["spec"]
    assert pod["containers"][0]["resources"]["limits"].keys() == {"memory"}
    assert "tolerations" not in pod


def test_what_a_virtual_gpu_may_use_never_lies_below_what_is_asked_for() -> None:
    virtual = {"gpusPerReplica": 0, "virtualGPU": {"profile": "llama-3-8b-1xa100"}}
    resources = engine(engine={**virtual, "resources": {"requests": {"memory": "6Gi"}}})["resources"]
    assert resources["requests"]["memory"] == "6Gi"
    assert "limits" not in resources


@pytest.mark.parametrize("offload", [0, 40])
def test_no_folder_of_the_node_can_be_filled_without_end(offload: int) -> None:
    """But for weights of the hub, whose size nobody knows."""
    model = {"id": "m", "source": {"pvc": {"claimName": "weights"}}}
    spec = template(model=model, engine={"gpusPerReplica": 2, "scheduler": {"kvOffloadGiB": offload}})["spec"]
    folders = {v["name"]: v["emptyDir"] for v in spec["volumes"] if "emptyDir" in v}
    assert set(folders) >= {"tmp", "cache", "shm"}
    assert all("sizeLimit" in folder for folder in folders.values())
    assert int(folders["shm"]["sizeLimit"].removesuffix("Gi")) > offload


def test_a_users_limit_is_never_below_the_default_request() -> None:
    resources = engine(engine={"resources": {"limits": {"memory": "2Gi"}}})["resources"]
    assert resources["requests"]["memory"] == resources["limits"]["memory"] == "2Gi"


def test_the_token_reaches_the_engine_by_reference_only() -> None:
    every = children(model={**MODEL, "tokenSecretRef": {"name": "hf", "key": "t"}})
    (variable,) = every["Deployment"]["spec"]["template"]["spec"]["containers"][0]["env"]
    assert variable == {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hf", "key": "t"}}}
    assert "hf" not in every["ConfigMap"]["data"]["engine.yaml"]


@pytest.mark.parametrize(
    ("source", "volume", "path"),
    [
        ({"pvc": {"claimName": "m", "path": "a/b"}}, "persistentVolumeClaim", "/models/a/b"),
        ({"hostPath": {"path": "/srv/m"}}, "hostPath", "/models"),
        ({"image": {"reference": "r/m:1", "path": "x"}}, "image", "/models/x"),
    ],
)
def test_a_model_of_ones_own_is_mounted_read_only_where_the_engine_looks(
    source: dict[str, Any], volume: str, path: str
) -> None:
    every = children(model={**MODEL, "source": source})
    pod = every["Deployment"]["spec"]["template"]["spec"]
    assert any(v["name"] == "model" and volume in v for v in pod["volumes"])
    assert {"name": "model", "mountPath": "/models", "readOnly": True} in pod["containers"][0]["volumeMounts"]
    assert yaml.safe_load(every["ConfigMap"]["data"]["engine.yaml"])["model"]["id"] == path


def test_a_model_on_the_node_is_refused_where_the_chart_does_not_allow_it() -> None:
    source = {"hostPath": {"path": "/srv/m"}}
    service = LLMService.parse({"metadata": {"name": "chat"}, "spec": {"model": {**MODEL, "source": source}}})
    settings = SETTINGS.model_copy(update={"allow_host_path": False})
    with pytest.raises(PodTemplateError, match=r"^spec\.model\.source\.hostPath: .*allowHostPath") as caught:
        render(service, settings=settings, replicas=1)
    assert caught.value.reason == "NotAllowed"


def test_replicas_spread_over_nodes_unless_the_user_says_where() -> None:
    assert template()["spec"]["topologySpreadConstraints"]
    own = template(engine={"affinity": {"nodeAffinity": {}}})["spec"]
    assert "topologySpreadConstraints" not in own


def test_the_network_policy_lets_the_operator_scrape() -> None:
    peers = children(networkPolicy={"enabled": True})["NetworkPolicy"]["spec"]["ingress"][0]["from"]
    assert {
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "andante-operator"}},
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "andante-system"}},
    } in peers


def test_the_settings_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "operator.yaml"
    path.write_text("engineImage: e:1\noperatorImage: o:1\nprometheusURL: http://prometheus:9090\ntickSeconds: 5\n")
    settings = OperatorSettings.load(path)
    assert settings == OperatorSettings(
        engine_image="e:1", operator_image="o:1", prometheus_url="http://prometheus:9090", tick_seconds=5
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("engineImage: e\noperatorImage: o\ntickSecond: 1\n", "tickSecond"),
        ("{}", "engineImage"),
        ("engineImage: e\n", "operatorImage"),
        ("engineImage: e\noperatorImage: o\nprometheusURL: prom:9090\n", "prometheusURL"),
        ("- a", "must be a mapping"),
        ("a: [", "not YAML"),
    ],
)
def test_bad_settings_are_refused_with_file_and_field(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "operator.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=problem) as caught:
        OperatorSettings.load(path)
    assert str(path) in str(caught.value)


def test_missing_settings_are_refused_with_the_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.yaml: cannot be read"):
        OperatorSettings.load(tmp_path / "nowhere.yaml")


def test_an_engine_pod_copies_the_package_out_of_the_operators_image() -> None:
    (init,) = template()["spec"]["initContainers"]
    assert init["image"] == "operator:1"
    assert engine()["image"] == "engine:1"
    assert engine()["command"] == ["python3", "/opt/andante/engine"]
    (copied,) = (v["name"] for v in init["volumeMounts"])
    assert {"name": copied, "mountPath": "/opt/andante", "readOnly": True} in engine()["volumeMounts"]


def test_an_image_that_brings_the_package_gets_nothing_copied() -> None:
    spec = template(engine={"image": "mine:1", "packageFrom": "Image"})["spec"]
    assert "initContainers" not in spec
    assert spec["containers"][0]["command"] == ["andante-engine"]
    assert {v["name"] for v in spec["volumes"]} == {"config", "tmp", "cache"}


def test_the_chart_may_say_that_images_bring_the_package_and_a_service_may_say_otherwise() -> None:
    settings = OperatorSettings(engine_image="e:1", operator_image="o:1", engine_package_from="Image")
    for package_from, copied in ((None, False), ("Operator", True)):
        raw = {"metadata": {"name": "chat"}, "spec": {"model": MODEL, "engine": {"packageFrom": package_from}}}
        pod = render(LLMService.parse(raw), settings=settings, replicas=1)[-1]["spec"]["template"]["spec"]
        assert ("initContainers" in pod) is copied


def test_pull_secrets_of_the_chart_come_beside_the_services_own() -> None:
    settings = OperatorSettings(engine_image="e:1", operator_image="o:1", engine_image_pull_secrets=("site", "both"))
    secrets = [{"name": "mine"}, {"name": "both"}]
    raw = {"metadata": {"name": "chat"}, "spec": {"model": MODEL, "engine": {"imagePullSecrets": secrets}}}
    pod = render(LLMService.parse(raw), settings=settings, replicas=1)[-1]["spec"]["template"]["spec"]
    assert [s["name"] for s in pod["imagePullSecrets"]] == ["mine", "both", "site"]


def _alerts(*, crds: tuple[str, ...] = (), settings: OperatorSettings = SETTINGS, **spec: Any) -> list[dict[str, Any]]:
    raw = {"metadata": {"name": "chat", "namespace": "prod", "uid": "u-1"}, "spec": {"model": MODEL, **spec}}
    rendered = render(LLMService.parse(raw), settings=settings, replicas=1, installed_crds=crds)
    return [c for c in rendered if c["kind"] == "PrometheusRule" or c["metadata"]["name"] == "chat-alerts"]


def test_the_alerts_are_a_prometheus_rule_where_there_is_that_kind() -> None:
    (rule,) = _alerts(crds=(PROMETHEUS_RULE.crd,))
    assert (rule["apiVersion"], rule["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    pages, warnings = rule["spec"]["groups"]
    assert (pages["name"], warnings["name"]) == ("andante.prod.chat", "andante.prod.chat.slow")
    assert "> 0.06" in pages["rules"][0]["expr"]


def test_without_that_kind_the_alerts_are_a_file_of_prometheus() -> None:
    (config_map,) = _alerts()
    (rule,) = _alerts(crds=(PROMETHEUS_RULE.crd,))
    assert config_map["kind"] == "ConfigMap"
    assert yaml.safe_load(config_map["data"]["rules.yaml"]) == rule["spec"]


def test_a_service_may_do_without_alerts() -> None:
    assert _alerts(monitoring={"prometheusRule": False}) == []
    assert _alerts(crds=(PROMETHEUS_RULE.crd,), monitoring={"prometheusRule": False}) == []
    assert _alerts(qoe={"objective": {"window": "12h"}}) == []


def test_alerts_have_the_labels_by_which_a_prometheus_selects_them() -> None:
    settings = SETTINGS.model_copy(update={"monitoring": MonitoringSettings(labels={"release": "stack"})})
    for crds in ((), (PROMETHEUS_RULE.crd,)):
        (child,) = _alerts(crds=crds, settings=settings, monitoring={"labels": {"team": "a"}})
        assert child["metadata"]["labels"].items() >= {"release": "stack", "team": "a"}.items()


def test_alerts_name_the_runbook_of_the_release() -> None:
    where = "https://docs.example.com/v{version}/runbooks/{alert}.html"
    settings = SETTINGS.model_copy(update={"monitoring": MonitoringSettings(runbook_url=where)})
    (rule,) = _alerts(crds=(PROMETHEUS_RULE.crd,), settings=settings)
    (first, *_) = rule["spec"]["groups"][0]["rules"]
    assert first["annotations"]["runbook_url"] == where.format(version=__version__, alert="AndanteQoEBudgetBurnFast")


def test_pods_need_the_settings_and_no_alerts() -> None:
    service = LLMService.parse({"metadata": {"name": "chat", "namespace": "prod"}, "spec": {"model": MODEL}})
    used = [c["metadata"]["name"] for c in render(service, settings=SETTINGS, replicas=1) if pods_use(c, service)]
    assert sorted(used) == ["chat", "chat-engine"]
