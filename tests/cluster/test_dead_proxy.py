"""A proxy in the environment that reaches nothing here: calls to a cluster on this machine do not go to it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hack.localcluster import proxies
from hack.localcluster.settings import REPOSITORY
from kubernetes import client, config

DEAD = "http://127.0.0.1:9"  # the discard port, where nobody listens
VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")


def tool(*arguments: str, state: Path, name: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("NO_PROXY", "no_proxy")}
    environment |= dict.fromkeys(VARIABLES, DEAD) | {"ANDANTE_STATE": str(state), "ANDANTE_CLUSTER": name}
    command = [sys.executable, "-m", "hack.localcluster", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder with a short path: sockets lie in it."""
    return tmp_path_factory.mktemp("s")


def test_native_node_comes_up_and_is_seen(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"dead-proxy-{os.getpid()}"
    try:
        up = tool("up", "--backend", "native", state=short, name=name)
        assert up.returncode == 0, up.stderr
        status = tool("status", state=short, name=name)
        assert f"{name}\tnative\tup" in status.stdout
        _clients_reach_it(Path(up.stdout.strip()), monkeypatch)
    finally:
        down = tool("down", state=short, name=name)
    assert down.returncode == 0, down.stderr


def _clients_reach_it(kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python client, in a process with the same environment."""
    for variable in VARIABLES:
        monkeypatch.setenv(variable, DEAD)
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(variable, "")
    proxies.bypass_server_of(kubeconfig)
    nodes = client.CoreV1Api(config.new_client_from_config(str(kubeconfig))).list_node()
    assert len(nodes.items) == 1


def test_exceptions_that_the_user_made_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(variable, "intranet.example.com,10.1.0.0/16")
    proxies.bypass("10.128.0.1")
    for variable in ("NO_PROXY", "no_proxy"):
        known = os.environ[variable].split(",")
        assert known[:2] == ["intranet.example.com", "10.1.0.0/16"]
        assert {"127.0.0.1", "10.128.0.1"} <= set(known)
