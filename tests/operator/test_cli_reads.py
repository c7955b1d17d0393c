"""`andante explain` and `andante status` on a real API server: what they show, and with which rights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hack.localcluster.api import ControlPlane

from operator_process import Namespace, OperatorProcess
from unit.run_cli import run_cli


class Andante:
    """Runs the command in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, kubeconfig: Path, *arguments: str) -> tuple[int, str, str]:
        """Exit status, output and errors."""
        status = run_cli(self._monkeypatch, *arguments, "--kubeconfig", kubeconfig)
        said = self._capsys.readouterr()
        return status, said.out, said.err


@pytest.fixture
def andante(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Andante:
    return Andante(monkeypatch, capsys)


def _account(ns: Namespace, plane: ControlPlane, name: str, rights: Sequence[str]) -> Path:
    """The kubeconfig of an account that may read these resources of the namespace."""
    ns.kubectl("create", "serviceaccount", name)
    if rights:
        ns.kubectl("create", "role", name, "--verb=get,list", *(f"--resource={right}" for right in rights))
        ns.kubectl("create", "rolebinding", name, f"--role={name}", f"--serviceaccount={ns.name}:{name}")
    return plane.kubeconfig_for_service_account(ns.name, name)


@pytest.fixture
def told(ns: Namespace) -> Namespace:
    """A namespace with a service and a status as an operator writes it; no operator runs."""
    ns.apply()
    ready = {"type": "Ready", "status": "False", "reason": "EngineStarting", "message": "the engine is loading",
             "lastTransitionTime": "2026-01-01T00:00:00Z"}  # fmt: skip
    status = {
        "summary": {"ready": "0/1", "problem": "Ready:EngineStarting"},
        "readyReplicas": 0,
        "qoe": {"state": "NoTraffic"},
        "scaling": {"desired": 1, "reason": "TargetMet", "message": "m", "planMissing": "no replica is ready"},
        "conditions": [ready],
    }
    ns.kubectl("patch", "lls", "chat", "--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))
    return ns


def test_explain_shows_what_the_api_server_has(told: Namespace, control_plane: ControlPlane, andante: Andante) -> None:
    status, said, errors = andante(control_plane.kubeconfig, "explain", "chat", "-n", told.name)
    assert (status, errors) == (0, "")
    assert said.splitlines()[0] == f"{told.name}/chat: 0/1 replicas ready; Ready:EngineStarting"
    assert "figures    no traffic" in said
    assert "not known: no replica is ready" in said.split("One replica fewer, or more")[1]


def test_kubectl_finds_it_as_a_plugin(told: Namespace, control_plane: ControlPlane) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [str(control_plane.kubectl_path), "andante", "status", "-n", told.name, "--json"],
        env={**os.environ, "PATH": path, "KUBECONFIG": str(control_plane.kubeconfig)},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["services"]
    assert (row["name"], row["ready"], row["problem"]) == ("chat", "0/1", "Ready:EngineStarting")


def test_kubectl_get_shows_the_same_problem(told: Namespace) -> None:
    assert told.kubectl("get", "lls", "chat").splitlines()[1].split()[:3] == ["chat", "0/1", "Ready:EngineStarting"]


def test_the_right_to_read_the_service_is_enough(
    told: Namespace, control_plane: ControlPlane, andante: Andante
) -> None:
    kubeconfig = _account(told, control_plane, "reader", ["llmservices"])
    status, said, _ = andante(kubeconfig, "explain", "chat", "-n", told.name)
    assert status == 0
    assert f"not known: you have no right to list pods in namespace {told.name}" in said
    assert "operator   not known whether one runs: you have no right to list leases in all namespaces" in said


def test_a_missing_right_is_named(told: Namespace, control_plane: ControlPlane, andante: Andante) -> None:
    status, _, errors = andante(_account(told, control_plane, "stranger", []), "explain", "chat", "-n", told.name)
    assert status == 2
    assert f"you have no right to get llmservices.andante.dev in namespace {told.name}" in errors
    status, _, errors = andante(_account(told, control_plane, "reader", ["llmservices"]), "status", "-A")
    assert status == 2
    assert "you have no right to list llmservices.andante.dev in all namespaces" in errors


def test_a_name_that_is_not_there_is_answered_with_those_that_are(
    told: Namespace, control_plane: ControlPlane, andante: Andante
) -> None:
    status, _, errors = andante(control_plane.kubeconfig, "explain", "chatt", "-n", told.name)
    assert status == 2
    assert "choose one that is there: chat" in errors


def test_what_an_operator_writes_is_shown_and_that_it_stopped_comes_first(
    operator: OperatorProcess, ns: Namespace, control_plane: ControlPlane, andante: Andante
) -> None:
    ns.apply()
    ns.wait_condition("Ready", "False", "EngineStarting")
    _, said, _ = andante(control_plane.kubeconfig, "explain", "chat", "-n", ns.name)
    assert said.splitlines()[0] == f"{ns.name}/chat: 0/1 replicas ready; Ready:EngineStarting"
    assert "figures    missing: nothing could be measured: no replica is ready" in said
    # Operators that other tests killed may have left Leases: then it is not known whose is this one's.
    (told,) = (line for line in said.splitlines() if line.startswith("  operator   "))
    assert told.split(":")[0].endswith(("runs", "not known whether one runs"))
    assert "was renewed" in told
    assert "  chat-" in said.split("\nPods\n")[1]
    operator.stop()
    _, said, _ = andante(control_plane.kubeconfig, "explain", "chat", "-n", ns.name)
    assert said.splitlines()[1].startswith("  operator: ")
    assert "All that follows is as it was then" in said.splitlines()[1]
