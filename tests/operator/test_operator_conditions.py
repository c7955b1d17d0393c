"""What keeps a service from serving is brought up from below, with a documented reason and the words of the cause."""

from __future__ import annotations

import json
import re

import pytest
from hack.localcluster.api import ControlPlane

from operator_pods import container_waits, engines, make_ready, pods_of, set_pod_status, wait_pods
from operator_process import ROOT, Namespace, OperatorProcess, wait_for


@pytest.fixture(scope="module")
def place(operated_plane: ControlPlane, standing_operator: OperatorProcess) -> Namespace:
    """One namespace for the whole file; each test has a service of its own."""
    name = "conditions"
    operated_plane.kubectl("create", "namespace", name)
    return Namespace(operated_plane, name)


WAITING = {
    "image": ("ImagePullBackOff", 'Back-off pulling image "nowhere/engine:1"', "ImagePullFailed"),
    "config": ("CreateContainerConfigError", 'secret "token" not found', "ContainerConfigError"),
}


@pytest.mark.parametrize("name", sorted(WAITING))
def test_a_container_that_cannot_start_names_its_cause(place: Namespace, name: str) -> None:
    below, message, reason = WAITING[name]
    place.apply(name=name)
    (pod,) = wait_pods(place, 1, name=name)
    set_pod_status(place, pod, container_waits(below, message))
    told = place.wait_condition("Degraded", "True", reason, name=name)
    assert message in told
    assert pod["metadata"]["name"] in told
    assert "What to do: " in told
    assert place.condition("Ready", name)["reason"] == reason


def test_a_pod_without_a_node_says_what_the_scheduler_said(place: Namespace) -> None:
    place.apply(name="nonode")
    (pod,) = wait_pods(place, 1, name="nonode")
    words = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    set_pod_status(
        place,
        pod,
        {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": words}]},
    )
    told = place.wait_condition("Degraded", "True", "Unschedulable", name="nonode")
    assert words in told
    assert "asks for cpu" in told


CRASHES = {
    "crash": ("Error", "ValueError: bad flag", "CrashLoop"),
    "memory": ("OOMKilled", "", "OutOfMemory"),
    "nomodel": ("Error", "OSError: no/such is not a local folder and is not a valid model identifier", "ModelNotFound"),
}


@pytest.mark.parametrize("name", sorted(CRASHES))
def test_an_engine_that_crashes_is_told_with_its_last_words(place: Namespace, name: str) -> None:
    below, words, reason = CRASHES[name]
    place.apply(name=name)
    (pod,) = wait_pods(place, 1, name=name)
    ended = {"exitCode": 1, "reason": below, "message": words}
    status = container_waits("CrashLoopBackOff", restartCount=3, lastState={"terminated": ended})
    set_pod_status(place, pod, {**status, "phase": "Running"})
    told = place.wait_condition("Degraded", "True", reason, name=name)
    assert "3 restarts" in told
    assert words in told


def test_a_quota_in_the_way_is_named(place: Namespace) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "gpus"},
        "spec": {"hard": {"requests.nvidia.com/gpu": "0"}},
    }
    place.kubectl("apply", "-f", "-", stdin=json.dumps(quota))
    place.apply(name="quota", engine={"gpusPerReplica": 1}, model={"id": "some/model", "source": {"hub": {}}})
    told = place.wait_condition("Degraded", "True", "QuotaExceeded", name="quota")
    assert "gpus" in told
    assert place.condition("AbleToScale", "quota")["reason"] == "QuotaExceeded"
    place.kubectl("delete", "resourcequota", "gpus")


def test_pod_security_in_the_way_is_named(place: Namespace) -> None:
    place.plane.kubectl("label", "namespace", place.name, "pod-security.kubernetes.io/enforce=restricted")
    patch = {"spec": {"containers": [{"name": "proxy", "image": "proxy:1"}]}}
    engine = {"gpusPerReplica": 0, "virtualGPU": {"profile": "llama-3-8b-1xa100"}, "podTemplate": patch}
    place.apply(name="security", engine=engine)
    told = place.wait_condition("Degraded", "True", "PodSecurityViolation", name="security")
    assert "allowPrivilegeEscalation" in told
    place.plane.kubectl("label", "namespace", place.name, "pod-security.kubernetes.io/enforce-")


def test_a_pod_template_that_takes_what_is_ours_is_refused_with_the_field(place: Namespace) -> None:
    patch = {"metadata": {"labels": {"andante.dev/llmservice": "other"}}}
    engine = {"gpusPerReplica": 0, "virtualGPU": {"profile": "llama-3-8b-1xa100"}, "podTemplate": patch}
    before = place.kubectl("get", "deployments", "-o", "name")
    done = place.plane.kubectl(
        "-n",
        place.name,
        "apply",
        "-f",
        "-",
        stdin=json.dumps(
            {
                "apiVersion": "andante.dev/v1alpha1",
                "kind": "LLMService",
                "metadata": {"name": "owned"},
                "spec": {"model": {"id": "synthetic", "source": {"synthetic": {}}}, "engine": engine},
            }
        ),
        check=False,
    )
    if done.returncode == 0:
        told = place.wait_condition("SpecValid", "False", "PodTemplateRefused", name="owned")
        assert "andante.dev/llmservice" in told
    else:
        assert "podTemplate" in done.stderr
    assert place.kubectl("get", "deployments", "-o", "name") == before


def test_a_folder_of_the_node_that_is_not_allowed_is_told_and_costs_nothing_that_runs(place: Namespace) -> None:
    place.apply(name="folder")
    (pod,) = wait_pods(place, 1, name="folder")
    model = {"id": "m", "source": {"synthetic": None, "hostPath": {"path": "/srv/models"}}}
    place.patch({"model": model}, name="folder")
    told = place.wait_condition("SpecValid", "False", "NotAllowed", name="folder")
    assert "spec.model.source.hostPath" in told
    assert "allowHostPath" in told
    assert [p["metadata"]["uid"] for p in pods_of(place, "folder")] == [pod["metadata"]["uid"]]
    place.patch({"model": {"id": "synthetic", "source": {"synthetic": {}, "hostPath": None}}}, name="folder")
    place.wait_condition("SpecValid", "True", "Valid", name="folder")


def test_events_tell_of_a_change_once(place: Namespace) -> None:
    place.apply(name="events")
    (pod,) = wait_pods(place, 1, name="events")
    set_pod_status(place, pod, container_waits("ImagePullBackOff", "no such image"))
    place.wait_condition("Degraded", "True", "ImagePullFailed", name="events")
    with engines(1) as (engine,):
        make_ready(place, pod, engine)
        place.wait_condition("MetricsAvailable", "True", "NoTraffic", name="events")

        def about() -> list[str]:
            return sorted(reason for reason, message in place.events() if "events" in message or "serve" in message)

        wait_for("the event Ready", lambda: "Ready" in about())
        assert [r for r in about() if r in ("Ready", "ImagePullFailed")].count("ImagePullFailed") == 1


def test_an_engine_version_that_is_not_tested_is_told(place: Namespace) -> None:
    place.apply(name="version")
    (pod,) = wait_pods(place, 1, name="version")
    with engines(1) as (engine,):
        engine.scheduling = (0, "untested vLLM 9.9.9 (tested: 0.32.0)")
        make_ready(place, pod, engine)
        told = place.wait_condition("EngineCompatible", "False", "EngineVersionUntested", name="version")
        assert "9.9.9" in told
        engine.scheduling = (1, "policy")
        place.wait_condition("EngineCompatible", "True", "PolicyActive", name="version")


def test_a_policy_that_failed_is_told_with_its_error(place: Namespace) -> None:
    place.apply(name="failed")
    (pod,) = wait_pods(place, 1, name="failed")
    with engines(1) as (engine,):
        engine.scheduling = (0, "policy failed: IndexError: index 5 is out of bounds")
        make_ready(place, pod, engine)
        told = place.wait_condition("EngineCompatible", "False", "PolicyFailed", name="failed")
        assert pod["metadata"]["name"] in told
        assert "index 5" in told


def test_a_service_that_serves_is_ready_and_settled(place: Namespace) -> None:
    place.apply(name="well")
    (pod,) = wait_pods(place, 1, name="well")
    with engines(1) as (engine,):
        make_ready(place, pod, engine)
        place.wait_condition("Ready", "True", "Serving", name="well")
        place.wait_condition("Progressing", "False", "Settled", name="well")
        place.wait_condition("Degraded", "False", "AsWanted", name="well")
        assert len(pods_of(place, "well")) == 1


def test_every_reason_in_a_status_is_documented(place: Namespace) -> None:
    """Last in the file: over all the services that the tests before it left."""
    documented = set(re.findall(r"`(\w+)`", (ROOT / "docs" / "reference" / "conditions.md").read_text()))
    seen = {
        condition["reason"]
        for service in place.items("llmservices")
        for condition in (service.get("status") or {}).get("conditions", [])
    }
    assert len(seen) > 10
    assert seen <= documented
