"""Up and down of the native cluster: idempotent, side by side, and nothing stays behind, also after a crash."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hack.localcluster import network
from hack.localcluster.api import Cluster, ControlPlane
from hack.localcluster.node_config import PAUSE_IMAGE
from hack.localcluster.processes import kill_marked
from hack.localcluster.progress import wait_until
from hack.localcluster.settings import REPOSITORY, state_root
from tests.cluster.machine import picture

NAME = f"life-{os.getpid()}"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hack.localcluster", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=200)


def pids(name: str) -> dict[str, int]:
    return {path.name: json.loads(path.read_text())["pid"] for path in (state_root() / name / "run").iterdir()}


def test_nothing_is_left_after_pods_ran(web_pod: dict[str, object], tmp_path: Path) -> None:
    before = picture(NAME)
    with Cluster(name=NAME) as cluster:
        image = web_pod["containers"][0]["image"]  # type: ignore[index]
        cluster.kubectl("run", "held", f"--image={image}", "--image-pull-policy=Never")
        assert picture(NAME) != before
    assert picture(NAME) == before


@pytest.mark.parametrize(
    "reached",
    ["cluster.json", "run/node.pid", "run/etcd.pid", "run/kube-apiserver.pid", "node/go", "logs/kubelet.log"],
)
def test_down_cleans_up_after_a_start_that_was_killed(reached: str) -> None:
    before = picture(NAME)
    command = [sys.executable, "-m", "hack.localcluster", "up", "--backend", "native", "--name", NAME]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as starter:
        wait_until(
            (state_root() / NAME / reached).exists,
            what=reached,
            timeout_seconds=60,
            still_possible=lambda: None if starter.poll() is None else "the start ended",
            poll_seconds=0.002,
        )
        starter.kill()
    down = run("down", "--name", NAME)
    assert (down.returncode, picture(NAME)) == (0, before), down.stderr


def test_down_goes_on_where_a_killed_down_stopped() -> None:
    before = picture(NAME)
    assert run("up", "--backend", "native", "--name", NAME).returncode == 0
    command = [sys.executable, "-m", "hack.localcluster", "down", "--name", NAME]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as stopper:
        node = state_root() / NAME / "run" / "node.pid"
        wait_until(lambda: not node.exists(), what="the node to go", timeout_seconds=60, poll_seconds=0.002)
        stopper.kill()
    assert run("down", "--name", NAME).returncode == 0
    assert picture(NAME) == before


def test_up_on_a_running_cluster_changes_nothing_and_down_twice_is_fine() -> None:
    try:
        first = run("up", "--backend", "native", "--name", NAME)
        started = pids(NAME)
        second = run("up", "--name", NAME)
        assert (first.returncode, second.returncode) == (0, 0), second.stderr
        assert first.stdout == second.stdout == f"{state_root() / NAME / 'kubeconfig'}\n"
        assert pids(NAME) == started
    finally:
        down = [run("down", "--name", NAME).returncode for _ in range(2)]
    assert down == [0, 0]


def test_up_revives_a_node_that_died_with_its_pods_and_objects() -> None:
    with Cluster(name=NAME) as cluster:
        cluster.kubectl("run", "kept", f"--image={PAUSE_IMAGE}", "--image-pull-policy=Never")
        cluster.kubectl("wait", "pod/kept", "--for=condition=Ready", "--timeout=60s")
        os.kill(pids(NAME)["node.pid"], signal.SIGKILL)
        again = run("up", "--name", NAME)
        assert again.returncode == 0, again.stderr
        path = "-o=jsonpath={.status.containerStatuses[0].restartCount}"
        wait_until(
            lambda: cluster.kubectl("get", "pod", "kept", path).stdout == "1",
            what="the pod's container to be started again",
            timeout_seconds=120,
        )
        cluster.kubectl("wait", "pod/kept", "--for=condition=Ready", "--timeout=60s")


def test_up_goes_on_after_everything_was_killed() -> None:
    with Cluster(name=NAME) as cluster:
        cluster.kubectl("create", "configmap", "kept")
        kill_marked(state_root() / NAME)
        again = run("up", "--name", NAME)
        assert again.returncode == 0, again.stderr
        assert cluster.kubectl("get", "configmap", "kept", "-o=name").stdout == "configmap/kept\n"


def test_two_run_side_by_side_on_networks_of_their_own(cluster: Cluster) -> None:
    with Cluster(name=NAME) as second, ControlPlane() as third:
        servers = {plane.server for plane in (cluster, second, third)}
        path = "-o=jsonpath={.items[*].metadata.name}"
        nodes = [plane.kubectl("get", "nodes", path).stdout for plane in (cluster, second, third)]
        assert len(servers) == 3
        assert nodes == [f"{cluster.name}-node", f"{NAME}-node", ""]
        assert network.link_name(NAME) != network.link_name(cluster.name)
