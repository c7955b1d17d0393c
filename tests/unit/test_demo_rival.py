"""The rival's objects: stock vLLM in our engines, and an autoscaler that is given what it can use."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml
from hack.demo.external_metrics import IN_FLIGHT, WAITING
from hack.demo.rival import (
    ADAPTER,
    LABEL,
    AdapterImage,
    Targets,
    adapter,
    api_service,
    autoscaler,
    is_foreign,
    rival_name,
    stock_service,
)
from hack.demo.watch import to_sample

from andante.api.v1alpha1 import LLMService

EXAMPLE = yaml.safe_load((Path(__file__).parents[2] / "examples" / "llmservice.yaml").read_text())


def test_only_scheduling_and_scaling_are_the_rivals_own() -> None:
    ours, theirs = LLMService.parse(EXAMPLE), LLMService.parse(stock_service(EXAMPLE))
    assert theirs.name == rival_name(EXAMPLE) == "chat-stock"
    assert theirs.spec.engine.scheduler.policy == "fcfs"
    assert theirs.spec.engine.extra_args == ("--watermark=0.02",)
    same = {"model", "qoe", "rollout", "monitoring", "network_policy"}
    assert theirs.spec.model_dump(include=same) == ours.spec.model_dump(include=same)
    engine = {"scheduler", "extra_args"}
    assert theirs.spec.engine.model_dump(exclude=engine) == ours.spec.engine.model_dump(exclude=engine)


def test_the_resource_says_how_many_replicas_the_rival_has() -> None:
    theirs = LLMService.parse(stock_service(EXAMPLE))
    assert (theirs.spec.scaling.mode, theirs.fixed_replicas) == ("Manual", 1)


def test_ours_is_not_changed_on_the_way() -> None:
    before = yaml.safe_dump(EXAMPLE)
    stock_service(EXAMPLE)
    assert yaml.safe_dump(EXAMPLE) == before


def test_a_watermark_of_the_services_own_stays() -> None:
    mine = yaml.safe_load(yaml.safe_dump(EXAMPLE))
    mine["spec"]["engine"]["extraArgs"] = ["--watermark=0.05"]
    assert stock_service(mine)["spec"]["engine"]["extraArgs"] == ["--watermark=0.05"]


def test_the_autoscaler_has_our_bounds_and_our_wait_to_shrink() -> None:
    made = autoscaler(EXAMPLE, Targets(waiting=2.5, in_flight=30))
    spec = made["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (1, 3)
    assert spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 60
    assert spec["behavior"]["scaleUp"]["stabilizationWindowSeconds"] == 0
    assert spec["scaleTargetRef"] == {"apiVersion": "andante.dev/v1alpha1", "kind": "LLMService", "name": "chat-stock"}
    targets = {m["external"]["metric"]["name"]: m["external"]["target"]["averageValue"] for m in spec["metrics"]}
    assert targets == {WAITING: "2500m", IN_FLIGHT: "30000m"}


def _adapter() -> dict[str, Any]:
    image = AdapterImage(image="operator:1", pull_policy="Never", pull_secrets=({"name": "login"},))
    made = adapter(namespace="demo", service="chat-stock", image=image, certificate="CERT", key="KEY")
    return {each["kind"]: each for each in made}


def test_the_adapter_fits_the_restricted_level_of_pod_security() -> None:
    pod = _adapter()["Deployment"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert {next(iter(volume.keys() - {"name"})) for volume in pod["volumes"]} == {"configMap", "secret"}
    (container,) = pod["containers"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert not container["securityContext"]["allowPrivilegeEscalation"]
    assert (container["image"], pod["imagePullSecrets"]) == ("operator:1", [{"name": "login"}])


def test_the_adapter_may_list_endpoints_and_nothing_else() -> None:
    assert _adapter()["Role"]["rules"] == [
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list"]}
    ]
    assert "ClusterRole" not in _adapter()


def test_the_adapters_pod_runs_the_script_that_is_tested_here() -> None:
    script = _adapter()["ConfigMap"]["data"]["external_metrics.py"]
    compile(script, "external_metrics.py", "exec")
    imported = {
        line.split()[1].partition(".")[0] for line in script.splitlines() if line.startswith(("import ", "from "))
    }
    assert not imported & {"andante", "hack", "kubernetes", "aiohttp", "yaml"}


def test_every_object_has_the_label_by_which_it_is_removed() -> None:
    service = api_service(namespace="demo", certificate="CERT")
    for made in (*_adapter().values(), service, autoscaler(EXAMPLE, Targets()), stock_service(EXAMPLE)):
        assert LABEL.items() <= made["metadata"]["labels"].items(), made["kind"]


def test_the_api_server_checks_the_adapters_certificate() -> None:
    spec = api_service(namespace="demo", certificate="CERT")["spec"]
    assert base64.b64decode(spec["caBundle"]) == b"CERT"
    assert "insecureSkipTLSVerify" not in spec
    assert spec["service"] == {"name": ADAPTER, "namespace": "demo", "port": 443}


def test_the_adapter_of_somebody_else_is_told_from_our_own() -> None:
    assert not is_foreign(api_service(namespace="demo", certificate="CERT"))
    assert is_foreign({"metadata": {"name": "v1beta1.external.metrics.k8s.io"}})
    assert is_foreign({"metadata": {"labels": {"app.kubernetes.io/part-of": "keda"}}})


def test_the_operators_image_is_found_beside_sidecars() -> None:
    containers = [{"name": "mesh", "image": "x"}, {"name": "operator", "image": "o:1", "imagePullPolicy": "Always"}]
    deployment = {"spec": {"template": {"spec": {"containers": containers}}}}
    assert AdapterImage.of(deployment) == AdapterImage(image="o:1", pull_policy="Always")


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (None, "no metric was read yet"),
        ({WAITING: "6500m", IN_FLIGHT: "41"},
         "for each replica, 6.5 requests wait (target 2) and 41.0 requests are in flight (target 32)"),
    ],
)  # fmt: skip
def test_the_autoscalers_reasons_are_its_metrics_beside_their_targets(metrics: Any, message: str) -> None:
    shown = autoscaler(EXAMPLE, Targets(waiting=2, in_flight=32))
    current = [
        {"type": "External", "external": {"metric": {"name": name}, "current": {"averageValue": value}}}
        for name, value in (metrics or {}).items()
    ]
    shown["status"] = {"desiredReplicas": 3, "currentMetrics": current}
    found = to_sample({"status": {"replicas": 1, "readyReplicas": 1}}, at=7.0, autoscaler=shown)
    assert (found.desired, found.reason, found.message) == (3, "HorizontalPodAutoscaler", message)
