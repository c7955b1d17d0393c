"""What `helm test` says where the operator's pod does not run: the kubelet's words, and what to do."""

from __future__ import annotations

from typing import Any

import pytest

from andante.app.status.operator_pod import hindrance

DEPLOYMENT: dict[str, Any] = {"spec": {"replicas": 1}}
NAMESPACE = "andante-system"


def _pod(**status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "andante-operator-x", "namespace": NAMESPACE}, "spec": {}, "status": status}


def _container(**status: Any) -> dict[str, Any]:
    container = {"name": "operator", "image": "registry.example.com/andante-operator:1", **status}
    return _pod(phase="Pending", containerStatuses=[container])


def _waiting(reason: str, message: str = "as the kubelet says.") -> dict[str, Any]:
    return _container(state={"waiting": {"reason": reason, "message": message}})


STANDS_IN_THE_WAY: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "no image": (
        _waiting("ImagePullBackOff"),
        ("cannot pull registry.example.com/andante-operator:1", "as the kubelet says", "global.imagePullSecrets"),
    ),
    "an image that may not be pulled": (_waiting("ErrImageNeverPull"), ("ErrImageNeverPull", "global.imageRegistry")),
    "no ConfigMap": (
        _waiting("CreateContainerConfigError", 'configmap "andante-operator" not found'),
        ('configmap "andante-operator" not found', "kubectl describe pod andante-operator-x --namespace"),
    ),
    "no node": (
        _pod(conditions=[{"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available: taints."}]),
        ("no node takes", "0/1 nodes are available: taints. What to do:", "andante-operator.nodeSelector"),
    ),
    "a crash": (
        _container(
            state={"waiting": {"reason": "CrashLoopBackOff"}},
            lastState={"terminated": {"exitCode": 2, "message": "operator.yaml: tickSeconds"}},
        ),
        ("exit status 2", "operator.yaml: tickSeconds", f"kubectl logs andante-operator-x --namespace {NAMESPACE}"),
    ),
    "nothing said yet": (_pod(phase="Pending"), ("is not ready yet", "kubectl describe pod andante-operator-x")),
}


@pytest.mark.parametrize("case", STANDS_IN_THE_WAY)
def test_a_pod_that_does_not_run_is_told_of_with_what_to_do(case: str) -> None:
    pod, words = STANDS_IN_THE_WAY[case]
    told = hindrance(DEPLOYMENT, [pod], namespace=NAMESPACE)
    assert told is not None
    assert "What to do: " in told
    assert [word for word in words if word not in told] == []


def test_a_ready_pod_stands_in_nobody_s_way() -> None:
    ready = _pod(phase="Running", conditions=[{"type": "Ready", "status": "True"}])
    assert hindrance(DEPLOYMENT, [_waiting("ImagePullBackOff"), ready], namespace=NAMESPACE) is None


def test_no_deployment_is_told_of() -> None:
    assert "has no Deployment" in (hindrance(None, [], namespace=NAMESPACE) or "")


def test_a_deployment_scaled_to_nothing_is_told_of_with_the_command() -> None:
    told = hindrance({"spec": {"replicas": 0}}, [], namespace=NAMESPACE) or ""
    assert f"kubectl scale deployment/andante-operator --replicas=1 --namespace {NAMESPACE}" in told


def test_pods_that_the_api_server_refuses_are_told_of_in_its_words() -> None:
    refused = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: pods"}
    told = hindrance({**DEPLOYMENT, "status": {"conditions": [refused]}}, [], namespace=NAMESPACE) or ""
    assert "has no pod: exceeded quota: pods. What to do:" in told
