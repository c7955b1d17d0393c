"""The control plane for tests: real API server and controllers, and cutting it."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from hack.localcluster.api import ClusterError, ControlPlane
from hack.localcluster.processes import marked_processes
from hack.localcluster.progress import wait_until
from hack.localcluster.settings import REPOSITORY

DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web"},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": "none"}]},
        },
    },
}


def names(plane: ControlPlane, kind: str, selector: str = "app=web") -> list[str]:
    return plane.kubectl("get", kind, "-l", selector, "-o=jsonpath={.items[*].metadata.name}").stdout.split()


def test_deployment_becomes_pods_and_garbage_collection_takes_them_back(control_plane: ControlPlane) -> None:
    control_plane.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(DEPLOYMENT))
    wait_until(lambda: len(names(control_plane, "pods")) == 2, what="two pods", timeout_seconds=60)
    control_plane.kubectl("delete", "deployment", "web")
    wait_until(
        lambda: not names(control_plane, "replicasets") and not names(control_plane, "pods"),
        what="replica sets and pods to go",
        timeout_seconds=60,
    )


def test_deleted_namespace_takes_its_objects_along(control_plane: ControlPlane) -> None:
    control_plane.kubectl("create", "namespace", "short-lived")
    control_plane.kubectl("create", "configmap", "c", "-n", "short-lived")
    control_plane.kubectl("delete", "namespace", "short-lived", "--timeout=60s")
    done = control_plane.kubectl("get", "configmap", "c", "-n", "short-lived", check=False)
    assert "not found" in done.stderr


def test_exhausted_quota_refuses_the_object(control_plane: ControlPlane) -> None:
    control_plane.kubectl("create", "namespace", "tight")
    control_plane.kubectl("create", "quota", "none", "--hard=services=0", "-n", "tight")
    path = "-o=jsonpath={.status.hard.services}"
    wait_until(
        lambda: control_plane.kubectl("get", "quota", "none", "-n", "tight", path).stdout == "0",
        what="the quota to be counted",
        timeout_seconds=60,
    )
    done = control_plane.kubectl("create", "service", "clusterip", "s", "--tcp=80", "-n", "tight", check=False)
    assert "exceeded quota" in done.stderr


def test_disruption_budget_refuses_an_eviction(control_plane: ControlPlane) -> None:
    control_plane.kubectl("create", "namespace", "guarded")
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "labels": {"app": "p"}},
        "spec": {"containers": [{"name": "p", "image": "none"}], "nodeName": "nowhere"},
    }
    control_plane.kubectl("apply", "-n", "guarded", "-f", "-", stdin=json.dumps(pod))
    running = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
    control_plane.kubectl("patch", "pod", "p", "-n", "guarded", "--subresource=status", "-p", json.dumps(running))
    control_plane.kubectl("create", "pdb", "p", "--selector=app=p", "--min-available=1", "-n", "guarded")
    path = "-o=jsonpath={.status.currentHealthy}"
    wait_until(
        lambda: control_plane.kubectl("get", "pdb", "p", "-n", "guarded", path).stdout == "1",
        what="the budget to be counted",
        timeout_seconds=60,
    )
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p", "namespace": "guarded"}}
    url = "/api/v1/namespaces/guarded/pods/p/eviction"
    done = control_plane.kubectl("create", "--raw", url, "-f", "-", stdin=json.dumps(eviction), check=False)
    assert "disruption budget" in done.stderr


def test_service_account_kubeconfig_has_that_accounts_rights_only(control_plane: ControlPlane) -> None:
    control_plane.kubectl("create", "serviceaccount", "reader")
    control_plane.kubectl("create", "role", "read", "--verb=get,list", "--resource=configmaps")
    control_plane.kubectl("create", "rolebinding", "read", "--role=read", "--serviceaccount=default:reader")
    kubeconfig = control_plane.kubeconfig_for_service_account("default", "reader")
    kubectl = [str(control_plane.kubectl_path), f"--kubeconfig={kubeconfig}", "auth", "can-i"]
    said = [
        subprocess.run([*kubectl, *words], capture_output=True, text=True, check=False).stdout.strip()
        for words in (["list", "configmaps"], ["list", "secrets"])
    ]
    assert said == ["yes", "no"]


def test_apiserver_comes_back_on_its_port_with_its_data(control_plane: ControlPlane) -> None:
    control_plane.kubectl("create", "configmap", "kept")
    server = control_plane.server
    with control_plane.apiserver_down():
        done = control_plane.kubectl("get", "configmap", "kept", check=False)
        assert "refused" in done.stderr
    assert control_plane.server == server
    control_plane.kubectl("get", "configmap", "kept")


def test_paused_apiserver_does_not_answer_until_resumed(control_plane: ControlPlane) -> None:
    control_plane.pause_apiserver()
    try:
        done = control_plane.kubectl("get", "ns", "--request-timeout=1s", check=False)
    finally:
        control_plane.resume_apiserver()
    assert done.returncode != 0
    control_plane.kubectl("get", "ns")


def test_pod_is_bound_to_a_node_with_a_faked_gpu() -> None:
    with ControlPlane(scheduler=True) as plane:
        plane.add_node("gpu-1", {"nvidia.com/gpu": "8"})
        limits = {"limits": {"nvidia.com/gpu": "4"}}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "p", "labels": {"app": "p"}},
            "spec": {"containers": [{"name": "p", "image": "none", "resources": limits}]},
        }
        plane.kubectl("apply", "-f", "-", stdin=json.dumps(pod))
        path = "-o=jsonpath={.spec.nodeName}"
        wait_until(
            lambda: plane.kubectl("get", "pod", "p", path).stdout == "gpu-1", what="the binding", timeout_seconds=60
        )


def test_anonymous_requests_are_refused(control_plane: ControlPlane) -> None:
    trusted = ssl.create_default_context(cafile=str(control_plane.ca))
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{control_plane.server}/api/v1/secrets", context=trusted, timeout=10)
    refused.value.close()
    assert refused.value.code == 403


def test_kubectl_failure_says_what_the_server_said(control_plane: ControlPlane) -> None:
    with pytest.raises(ClusterError, match='configmaps "missing" not found'):
        control_plane.kubectl("get", "configmap", "missing")


def test_nothing_is_left_after_stop() -> None:
    with ControlPlane() as plane:
        state = plane.state
        assert marked_processes(state)
    assert not state.exists()
    assert not marked_processes(state)


def test_killed_test_run_leaves_neither_servers_nor_for_long_a_folder(tmp_path: Path) -> None:
    report = tmp_path / "state"
    code = (
        "import pathlib, signal\n"
        "from hack.localcluster.api import ControlPlane\n"
        "plane = ControlPlane().start()\n"
        f"pathlib.Path({str(report)!r}).write_text(str(plane.state))\n"
        "signal.pause()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY) as run:
        wait_until(
            lambda: report.exists() and report.read_text() != "",
            what="the control plane",
            timeout_seconds=60,
            still_possible=lambda: None if run.poll() is None else "it ended",
        )
        state = Path(report.read_text())
        assert marked_processes(state)
        os.kill(run.pid, signal.SIGKILL)
    wait_until(lambda: not marked_processes(state), what="its servers to end", timeout_seconds=20)
    early = state.with_name(f"{state.name}-early")  # as if it had been killed before it started anything
    early.mkdir()
    with ControlPlane() as running:
        assert not state.exists()  # the next one clears the folder away
        assert not early.exists()
        beside = running.state.with_name(f"{running.state.name}-beside")
        beside.mkdir()
        with ControlPlane():
            assert beside.exists()  # this run is alive
        beside.rmdir()


def test_command_line_brings_up_and_takes_down_a_control_plane(tmp_path: Path) -> None:
    environment = {**os.environ, "ANDANTE_STATE": str(tmp_path / "state"), "ANDANTE_CLUSTER": "cli"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "hack.localcluster", *arguments]
        return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, env=environment)

    try:
        up = run("up", "--control-plane-only")
        assert (up.returncode, up.stdout.strip()) == (0, str(tmp_path / "state" / "cli" / "kubeconfig")), up.stderr
        assert run("status").stdout.split("\t")[:3] == ["cli", "control-plane", "up"]
        load = run("load-image", "any.tar")
        assert (load.returncode, "there is no node" in load.stderr) == (1, True)
        clash = run("up", "--backend", "native")
        assert (clash.returncode, "exists already (control-plane)" in clash.stderr) == (1, True)
        borrowed = run("up", "--name", "borrowed", "--kubeconfig", up.stdout.strip())
        assert borrowed.returncode == 0, borrowed.stderr
    finally:
        down = run("down", "--all")
    assert down.returncode == 0, down.stderr
    assert not (tmp_path / "state").exists()
