"""From resource to children and back: made, repaired, changed, removed; what is not ours stays untouched."""

from __future__ import annotations

import itertools
import json
import threading
from typing import Any

import pytest

from operator_process import Namespace, OperatorProcess, wait_for

CHILDREN = {
    ("Deployment", "chat"),
    ("Service", "chat"),
    ("ConfigMap", "chat-engine"),
    ("ConfigMap", "chat-alerts"),
    ("ServiceAccount", "chat"),
    ("PodDisruptionBudget", "chat"),
}
KINDS = "deployment,service,configmap,serviceaccount,poddisruptionbudget,networkpolicy"


@pytest.fixture
def operator(standing_operator: OperatorProcess) -> OperatorProcess:
    """No test here stops it."""
    return standing_operator


@pytest.fixture
def ns(served: Namespace) -> Namespace:
    return served


def _children(ns: Namespace, name: str = "chat") -> set[tuple[str, str]]:
    return {
        (o["kind"], o["metadata"]["name"])
        for o in ns.items(KINDS)
        if (o["metadata"].get("labels") or {}).get("andante.dev/llmservice") == name
    }


def _made(ns: Namespace) -> None:
    ns.apply()
    wait_for("all children", lambda: _children(ns) == CHILDREN, told=lambda: str(_children(ns)))
    wait_for("the status", lambda: ns.status().get("replicas") == 1, told=lambda: json.dumps(ns.status()))


def test_a_service_gets_its_children_and_a_status(operator: OperatorProcess, ns: Namespace) -> None:
    _made(ns)
    status = ns.status()
    assert status["observedGeneration"] == 1
    assert status["endpoint"] == f"http://chat.{ns.name}.svc/v1"
    assert (status["readyReplicas"], status["startingReplicas"]) == (0, 1)
    assert ns.condition("Ready")["reason"] == "EngineStarting"
    assert ns.condition("MetricsAvailable")["status"] == "Unknown"


def test_nothing_is_written_on_the_resource_but_its_status(operator: OperatorProcess, ns: Namespace) -> None:
    _made(ns)
    resource = ns.get("llmservice", "chat")
    assert resource is not None
    assert "finalizers" not in resource["metadata"]
    own = "kubectl.kubernetes.io/last-applied-configuration"
    assert set(resource["metadata"].get("annotations") or {}) <= {own}
    managers = {(m["manager"], m.get("subresource", "")) for m in resource["metadata"]["managedFields"]}
    assert managers == {("kubectl-client-side-apply", ""), ("andante", "status")}


def test_deleted_children_come_back(operator: OperatorProcess, ns: Namespace) -> None:
    _made(ns)
    old = {o["metadata"]["uid"] for o in ns.items(KINDS)}
    for kind, name in sorted(CHILDREN):
        ns.kubectl("delete", kind, name, "--wait=false")

    def back() -> bool:
        new = [o for o in ns.items(KINDS) if o["metadata"]["uid"] not in old]
        return {(o["kind"], o["metadata"]["name"]) for o in new} == CHILDREN

    wait_for("every child to be back", back, told=operator.tail)


EDITS: dict[str, tuple[str, str, Any, Any]] = {
    "the engine's image": (
        "deployment",
        "chat",
        {"spec": {"template": {"spec": {"containers": [{"name": "engine", "image": "else:1"}]}}}},
        lambda o: o["spec"]["template"]["spec"]["containers"][0]["image"] == "example.invalid/vllm:test",
    ),
    "the engine's settings": (
        "configmap",
        "chat-engine",
        {"data": {"engine.yaml": "model: {}"}},
        lambda o: "synthetic" in o["data"]["engine.yaml"],
    ),
    "the service's port": (
        "service",
        "chat",
        {"spec": {"ports": [{"port": 80, "name": "http", "targetPort": 9999}]}},
        lambda o: o["spec"]["ports"][0]["targetPort"] == 8000,
    ),
    "a label": (
        "service",
        "chat",
        {"metadata": {"labels": {"andante.dev/llmservice": None}}},
        lambda o: o["metadata"]["labels"].get("andante.dev/llmservice") == "chat",
    ),
    "the owner": (
        "serviceaccount",
        "chat",
        {"metadata": {"ownerReferences": None}},
        lambda o: bool(o["metadata"].get("ownerReferences")),
    ),
}


def test_edited_children_are_put_right(operator: OperatorProcess, ns: Namespace) -> None:
    _made(ns)
    for kind, name, patch, _ in EDITS.values():
        ns.kubectl("patch", kind, name, "--type=strategic", "-p", json.dumps(patch))
    for what, (kind, name, _, right) in EDITS.items():
        wait_for(f"{what} to be put right", lambda k=kind, n=name, r=right: r(ns.get(k, n)), told=operator.tail)


def test_two_masters_of_one_child_do_not_fight_for_ever(operator: OperatorProcess, ns: Namespace) -> None:
    _made(ns)
    ports = ({"spec": {"ports": [{"port": 80, "name": "http", "targetPort": number}]}} for number in itertools.count(1))
    over = threading.Event()

    def fight() -> None:
        while not over.wait(0.2):
            ns.kubectl("patch", "service", "chat", "--field-manager=rival", "-p", json.dumps(next(ports)), check=False)

    rival = threading.Thread(target=fight)
    rival.start()
    try:
        assert "'rival'" in ns.wait_condition("Degraded", "True", "ChildContested")
        applied = operator.metric("andante_operator_api_calls_total", verb="apply", kind="Service")
        ticks = operator.metric("andante_operator_ticks_total")
        wait_for("five ticks", lambda: operator.metric("andante_operator_ticks_total") >= ticks + 5)
        assert operator.metric("andante_operator_api_calls_total", verb="apply", kind="Service") <= applied + 1
    finally:
        over.set()
        rival.join()


def test_a_field_that_somebody_adds_is_left_alone(operator: OperatorProcess, ns: Namespace) -> None:
    _made(ns)
    ns.kubectl("annotate", "service", "chat", "team=search")
    ns.kubectl("delete", "configmap", "chat-engine")
    wait_for("the ConfigMap to be back", lambda: ns.get("configmap", "chat-engine"))
    service = ns.get("service", "chat")
    assert service is not None
    assert service["metadata"]["annotations"]["team"] == "search"


def test_a_child_that_is_not_wanted_any_more_is_removed(operator: OperatorProcess, ns: Namespace) -> None:
    ns.apply(networkPolicy={"enabled": True})
    wait_for("the NetworkPolicy", lambda: ("NetworkPolicy", "chat") in _children(ns))
    ns.patch({"networkPolicy": {"enabled": False}})
    wait_for("the NetworkPolicy to go", lambda: _children(ns) == CHILDREN)


def test_a_change_of_the_spec_reaches_the_children_and_two_at_once_end_at_the_second(
    operator: OperatorProcess, ns: Namespace
) -> None:
    _made(ns)
    ns.patch({"model": {"maxModelLen": 1024}})
    ns.patch({"model": {"maxModelLen": 2048}})
    wait_for("generation 3 to be observed", lambda: ns.status().get("observedGeneration") == 3)
    config = ns.get("configmap", "chat-engine")
    assert config is not None
    assert "2048" in config["data"]["engine.yaml"]


def test_classes_change_without_a_rollout(operator: OperatorProcess, ns: Namespace) -> None:
    _made(ns)
    before = ns.get("deployment", "chat")
    ns.patch({"qoe": {"classes": [{"name": "voice"}]}})
    wait_for("the class in qoe.yaml", lambda: "voice" in (ns.get("configmap", "chat-engine") or {})["data"]["qoe.yaml"])
    after = ns.get("deployment", "chat")
    assert before is not None
    assert after is not None
    assert after["spec"] == before["spec"]


@pytest.mark.parametrize(
    ("kind", "create"),
    [
        ("service", ("create", "service", "clusterip", "chat", "--tcp=80:80")),
        ("serviceaccount", ("create", "serviceaccount", "chat")),
        ("configmap", ("create", "configmap", "chat-engine", "--from-literal=a=b")),
    ],
)
def test_a_foreign_object_in_the_way_is_reported_and_not_touched(
    operator: OperatorProcess, ns: Namespace, kind: str, create: tuple[str, ...]
) -> None:
    ns.kubectl(*create)
    name = "chat" if kind == "service" else create[2]
    before = ns.get(kind, name)
    ns.apply()
    message = ns.wait_condition("Degraded", "True", "NameTaken")
    assert name in message
    assert ns.get(kind, name) == before
    ns.kubectl("delete", "llmservice", "chat")
    wait_for("the service's own children to go", lambda: not _children(ns))
    assert ns.get(kind, name) == before


def test_deleting_the_resource_leaves_nothing_behind(operator: OperatorProcess, ns: Namespace) -> None:
    _made(ns)
    ns.kubectl("delete", "llmservice", "chat")
    kinds = f"{KINDS},replicaset,pod"

    def left() -> list[str]:
        names = {f"{o['kind']}/{o['metadata']['name']}" for o in ns.items(kinds)}
        return sorted(names - {"ConfigMap/kube-root-ca.crt", "ServiceAccount/default"})

    wait_for("everything to be gone", lambda: not left(), told=lambda: str(left()))


def test_deleted_while_it_is_made(operator: OperatorProcess, ns: Namespace) -> None:
    ns.apply()
    ns.kubectl("delete", "llmservice", "chat", "--wait=false")
    wait_for("everything to be gone", lambda: not _children(ns) and ns.get("llmservice", "chat") is None)
    ns.apply(name="after")
    wait_for("the next service's children", lambda: len(_children(ns, "after")) == len(CHILDREN))
    assert not _children(ns)


def test_deleted_and_made_again_at_once(operator: OperatorProcess, ns: Namespace) -> None:
    _made(ns)
    ns.kubectl("delete", "llmservice", "chat", "--wait=true")
    ns.apply()
    new = ns.get("llmservice", "chat")
    assert new is not None

    def owners() -> set[str]:
        return {
            o["metadata"]["ownerReferences"][0]["uid"]
            for o in ns.items(KINDS)
            if (o["metadata"].get("labels") or {}).get("andante.dev/llmservice") == "chat"
        }

    wait_for("children of the new one", lambda: _children(ns) == CHILDREN and owners() == {new["metadata"]["uid"]})
