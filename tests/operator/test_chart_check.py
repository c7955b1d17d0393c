"""`helm test`: an operator at work passes, and where none is, the check says what keeps it from running."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from chart_plane import TEAM, Plane
from helm_release import OPERATOR, ROOT, SYSTEM
from operator_pods import container_waits, set_pod_status
from operator_process import Namespace, wait_for


def test_helm_test_sees_an_operator_at_work(plane: Plane, tmp_path: Path) -> None:
    plane.release.install(tickSeconds=1, watchNamespaces=[TEAM])
    plane.wait_served()
    before = plane.objects()
    with plane.operator(tmp_path), plane.hook_pods_run(tmp_path) as said:
        plane.release.helm("test", "andante", "--timeout", "90s")
    assert "ok: the API server refuses a wrong LLMService" in said[0]
    assert f"ok: the operator acted on LLMService {TEAM}/andante-check-" in said[0]
    wait_for("what the check made to be gone", lambda: plane.objects() == before)


def test_helm_test_fails_where_no_operator_acts(plane: Plane, tmp_path: Path) -> None:
    plane.release.install()
    plane.wait_served()
    said = _failed_check(plane, tmp_path)
    assert f"the operator to act on LLMService {TEAM}/andante-check-" in said
    assert plane.team.items("llmservices") == []


def test_helm_test_says_that_the_operator_s_image_cannot_be_pulled(plane: Plane, tmp_path: Path) -> None:
    plane.release.install(image={"repository": "registry.example.com/nowhere"})
    plane.wait_served()
    refused = container_waits("ImagePullBackOff", "manifest unknown", image="registry.example.com/nowhere:0.1.0")
    set_pod_status(Namespace(plane.plane, SYSTEM), _operator_pod(plane), refused)
    said = _failed_check(plane, tmp_path).splitlines()
    assert any(line.startswith("not yet: the node cannot pull registry.example.com/nowhere:0.1.0") for line in said)
    assert "ImagePullBackOff: manifest unknown. What to do: correct global.imageRegistry" in said[-1]


def test_helm_test_says_that_no_node_takes_the_operator_s_pod(plane: Plane, tmp_path: Path) -> None:
    plane.release.install()
    plane.wait_served()
    words = "0/3 nodes are available: 3 node(s) had untolerated taint {gpu: yes}."
    unschedulable = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": words}
    status = {"phase": "Pending", "conditions": [unschedulable]}
    set_pod_status(Namespace(plane.plane, SYSTEM), _operator_pod(plane), status)
    assert words.rstrip(".") in _failed_check(plane, tmp_path).splitlines()[-1]


def _operator_pod(plane: Plane) -> dict[str, Any]:
    """The pod that the Deployment made; there is no kubelet to run it."""
    system = Namespace(plane.plane, SYSTEM)

    def made() -> dict[str, Any] | None:
        pods = [p for p in system.items("pods") if p["metadata"]["labels"]["app.kubernetes.io/name"] == OPERATOR]
        return pods[0] if pods else None

    pod: dict[str, Any] = wait_for("the operator's pod", made)
    return pod


def _failed_check(plane: Plane, folder: Path) -> str:
    """What the check of `helm test` says when it gives up."""
    arguments = ["check", "--namespace", TEAM, "--operator-namespace", SYSTEM, "--timeout", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "andante.chart_hooks", *arguments],
        env={**os.environ, "KUBECONFIG": str(plane.plane.kubeconfig), "PYTHONPATH": str(ROOT / "operator")},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    return done.stdout
