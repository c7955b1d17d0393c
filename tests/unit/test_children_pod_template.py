"""podTemplate: the user has the last word, except over what the operator must keep."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andante.api.v1alpha1 import LLMService
from andante.app.children import PodTemplateError, render
from andante.app.settings import OperatorSettings
from unit.test_children_strategic_merge import JSON


def pod(
    patch: Any = None, *, operator: Any = None, allowed: dict[str, bool] | None = None, **engine: Any
) -> dict[str, Any]:
    spec = {"model": {"id": "org/model"}, "engine": {**engine, **({"podTemplate": patch} if patch else {})}}
    service = LLMService.parse({"metadata": {"name": "chat"}, "spec": spec})
    settings = OperatorSettings(
        engine_image="e:1", operator_image="o:1", engine_pod_template=operator or {}, **(allowed or {})
    )
    template: dict[str, Any] = render(service, settings=settings, replicas=1)[-1]["spec"]["template"]
    return template


def engine(template: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(c for c in template["spec"]["containers"] if c["name"] == "engine")
    return found


def test_the_services_patch_wins_over_the_operators() -> None:
    def image(tag: str) -> dict[str, Any]:
        return {"spec": {"containers": [{"name": "engine", "image": tag}]}}

    assert engine(pod(image("mine:2"), operator=image("site:1")))["image"] == "mine:2"
    assert engine(pod(operator=image("site:1")))["image"] == "site:1"


def test_the_operators_patch_may_replace_the_command() -> None:
    wrapper = {"spec": {"containers": [{"name": "engine", "command": ["/opt/wrapper"]}]}}
    assert engine(pod(operator=wrapper))["command"] == ["/opt/wrapper"]


def test_a_sidecar_is_added_beside_the_engine() -> None:
    template = pod({"spec": {"containers": [{"name": "proxy", "image": "p", "command": ["p"]}]}})
    assert {c["name"] for c in template["spec"]["containers"]} == {"engine", "proxy"}


def test_an_init_container_is_added_beside_the_one_that_copies_the_package() -> None:
    template = pod({"spec": {"initContainers": [{"name": "warm-up", "image": "w"}]}})
    assert {c["name"] for c in template["spec"]["initContainers"]} == {"andante-package", "warm-up"}


@pytest.mark.parametrize(
    ("asked", "requested"), [(None, "249856Mi"), ("300Gi", "300Gi")], ids=["default", "what the user asks for"]
)
def test_memory_for_offloaded_kv_is_requested_beside_the_engines_own(asked: str | None, requested: str) -> None:
    resources = {"resources": {"requests": {"memory": asked}}} if asked else {}
    template = pod(gpusPerReplica=4, scheduler={"kvOffloadGiB": 240}, **resources)
    assert engine(template)["resources"]["requests"]["memory"] == requested


def _containers(**fields: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "engine", **fields}]}}


@pytest.mark.parametrize(
    ("patch", "field", "why"),
    [
        (_containers(command=["sh"]), "spec.containers[engine].command", "the operator starts the engine"),
        (_containers(args=[]), "spec.containers[engine].args", "extraArgs"),
        (_containers(ports=[{"containerPort": 8000, "name": "x"}]), "spec.containers[engine].ports", "Service"),
        (_containers(**{"$patch": "replace"}), "spec.containers[engine].command", "must not be set"),
        (_containers(**{"$patch": "delete"}), "spec.containers", "would serve nothing"),
        (_containers(env=[{"name": "HF_TOKEN", "value": "x"}]),
         "spec.containers[engine].env[HF_TOKEN]", "tokenSecretRef"),
        (_containers(volumeMounts=[{"mountPath": "/etc/andante", "$patch": "delete"}]),
         "spec.containers[engine].volumeMounts", "must stay"),
        ({"spec": {"volumes": [{"name": "config", "$patch": "delete"}]}}, "spec.volumes[config]", "settings"),
        ({"spec": {"volumes": [{"name": "andante-package", "$patch": "delete"}]}},
         "spec.volumes[andante-package]", "engine package"),
        ({"spec": {"initContainers": [{"name": "andante-package", "image": "mine"}]}},
         "spec.initContainers[andante-package]", "engine package"),
        ({"spec": {"initContainers": [{"$patch": "replace"}]}},
         "spec.initContainers[andante-package]", "engine package"),
        (_containers(volumeMounts=[{"mountPath": "/opt/andante", "$patch": "delete"}]),
         "spec.containers[engine].volumeMounts", "andante-package must stay"),
        ({"spec": {"$patch": "delete"}}, "spec.terminationGracePeriodSeconds", "drainTimeout"),
        ({"spec": {"restartPolicy": "Never"}}, "spec.restartPolicy", "always restart"),
        ({"metadata": {"labels": {"andante.dev/llmservice": "x"}}},
         "metadata.labels[andante.dev/llmservice]", "finds its pods"),
        ({"metadata": {"labels": {"$patch": "replace"}}}, "metadata.labels[app.kubernetes.io/name]", "finds its pods"),
        ({"spec": {"volumes": [{}]}}, "spec.volumes", "needs the field 'name'"),
    ],
)  # fmt: skip
def test_what_the_operator_owns_is_refused_with_the_reason(patch: Any, field: str, why: str) -> None:
    with pytest.raises(PodTemplateError) as caught:
        pod(patch)
    assert caught.value.field == f"spec.engine.podTemplate.{field}"
    assert why in caught.value.problem


def _volume(**source: Any) -> dict[str, Any]:
    return {"spec": {"volumes": [{"name": "node", **source}]}}


HOST = {"path": "/", "type": "Directory"}
REACHES_OUT = [
    ({"spec": {"serviceAccountName": "admin"}}, "spec.serviceAccountName", "has no rights"),
    ({"spec": {"serviceAccount": "admin"}}, "spec.serviceAccount", "has no rights"),
    ({"spec": {"automountServiceAccountToken": True}}, "spec.automountServiceAccountToken", "no token"),
    ({"spec": {"nodeName": "control-plane-1"}}, "spec.nodeName", "nodeSelector"),
    ({"spec": {"hostNetwork": True}}, "spec.hostNetwork", "network of their own"),
    ({"spec": {"hostPID": True}}, "spec.hostPID", "processes"),
    ({"spec": {"hostIPC": True}}, "spec.hostIPC", "shared memory"),
    (_containers(securityContext={"privileged": True}),
     "spec.containers[engine].securityContext.privileged", "root on its node"),
    ({"spec": {"initContainers": [{"name": "tune", "image": "x", "securityContext": {"privileged": True}}]}},
     "spec.initContainers[tune].securityContext.privileged", "root on its node"),
    (_containers(securityContext={"capabilities": {"add": ["CHOWN", "SYS_ADMIN"]}}),
     "spec.containers[engine].securityContext.capabilities.add", "must not be SYS_ADMIN"),
    (_containers(securityContext={"procMount": "Unmasked"}),
     "spec.containers[engine].securityContext.procMount", "kernel"),
    ({"spec": {"containers": [{"name": "proxy", "image": "p", "ports": [{"containerPort": 80, "hostPort": 80}]}]}},
     "spec.containers[proxy].ports.hostPort", "use a Service"),
    (_volume(hostPath=HOST), "spec.volumes[node].hostPath", "allowHostPath is false"),
]  # fmt: skip


@pytest.mark.parametrize(("patch", "field", "why"), REACHES_OUT, ids=[field for _, field, _ in REACHES_OUT])
def test_what_reaches_beyond_the_pod_is_refused_to_a_service(patch: Any, field: str, why: str) -> None:
    with pytest.raises(PodTemplateError) as caught:
        pod(patch)
    assert caught.value.field == f"spec.engine.podTemplate.{field}"
    assert why in caught.value.problem


@pytest.mark.parametrize(("patch", "field", "why"), REACHES_OUT, ids=[field for _, field, _ in REACHES_OUT])
def test_what_reaches_beyond_the_pod_is_the_administrators_to_set(patch: Any, field: str, why: str) -> None:
    side = {"spec": {"containers": [{"name": "side", "image": "s"}]}}
    assert {c["name"] for c in pod(side, operator=patch)["spec"]["containers"]} >= {"engine", "side"}


def test_a_folder_of_the_node_is_mounted_where_the_chart_allows_it() -> None:
    template = pod(_volume(hostPath=HOST), allowed={"allow_host_path": True})
    assert {"name": "node", "hostPath": HOST} in template["spec"]["volumes"]


def test_a_folder_of_the_administrators_cannot_be_turned_into_another() -> None:
    with pytest.raises(PodTemplateError, match="allowHostPath"):
        pod(_volume(hostPath=HOST), operator=_volume(hostPath={**HOST, "path": "/srv/drivers"}))


@pytest.mark.parametrize("image", ["side:1", None], ids=["a patch", "an empty patch"])
def test_no_patch_is_applied_where_the_chart_allows_none(image: str | None) -> None:
    patch = {"spec": {"containers": [{"name": "side", "image": image}]}} if image else {"metadata": {}}
    with pytest.raises(PodTemplateError, match="allowPodTemplate is false") as caught:
        pod(patch, allowed={"allow_pod_template": False})
    assert (caught.value.field, caught.value.reason) == ("spec.engine.podTemplate", "NotAllowed")


@pytest.mark.parametrize(("characters", "fits"), [(60_000, True), (70_000, False)])
@pytest.mark.parametrize("field", ["podTemplate", "affinity"])
def test_a_free_object_has_an_end(field: str, characters: int, fits: bool) -> None:
    words = ["x" * 1000] * (characters // 1003)
    free = (
        {"spec": {"hostAliases": [{"ip": "10.0.0.1", "hostnames": words}]}} if field == "podTemplate" else {"a": words}
    )
    if fits:
        pod(**({"patch": free} if field == "podTemplate" else {field: free}))
        return
    with pytest.raises(PodTemplateError, match="65536 are allowed") as caught:
        pod(**({"patch": free} if field == "podTemplate" else {field: free}))
    assert caught.value.field == f"spec.engine.{field}"


def test_the_operators_own_patch_cannot_change_whose_pods_they_are() -> None:
    with pytest.raises(PodTemplateError, match=r"enginePodTemplate\.metadata\.labels"):
        pod(operator={"metadata": {"labels": {"app.kubernetes.io/instance": "x"}}})


@given(
    st.fixed_dictionaries(
        {}, optional={"metadata": st.dictionaries(st.text(max_size=8), JSON, max_size=3),
                      "spec": st.dictionaries(
                          st.sampled_from(["containers", "initContainers", "volumes", "$patch", "x"]), JSON)}
    )
)  # fmt: skip
def test_no_patch_crashes_and_none_takes_the_engines_command(patch: Any) -> None:
    try:
        template = pod(patch)
    except PodTemplateError:
        return
    assert engine(template)["command"] == ["python3", "/opt/andante/engine"]
