"""A PodMonitor is made where the cluster knows the kind; the Prometheus Operator may come later, and may go."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hack.localcluster.api import ControlPlane

from helm_release import ESTABLISHED, POD_MONITOR_CRD
from operator_process import Namespace, OperatorProcess, wait_for

CRD = "podmonitors.monitoring.coreos.com"


@pytest.fixture
def without_the_kind_afterwards(control_plane: ControlPlane) -> Iterator[None]:
    yield
    control_plane.kubectl("delete", "crd", CRD, "--ignore-not-found")


def _install(plane: ControlPlane) -> None:
    plane.kubectl("apply", "-f", "-", stdin=json.dumps(POD_MONITOR_CRD))
    for state in ESTABLISHED:
        plane.kubectl("wait", state, f"crd/{CRD}")


@pytest.mark.usefixtures("without_the_kind_afterwards")
def test_it_is_made_once_the_kind_is_there(
    control_plane: ControlPlane, namespace: str, ns: Namespace, tmp_path: Path
) -> None:
    operator = OperatorProcess(control_plane, tmp_path, namespaces=[namespace], resyncSeconds=2)
    try:
        operator.start()
        ns.apply()
        wait_for("the Deployment", lambda: ns.get("deployment", "chat"), told=operator.tail)

        _install(control_plane)
        monitor = wait_for("the PodMonitor", lambda: ns.get("podmonitor", "chat"), told=operator.tail)
        deployment = ns.get("deployment", "chat")
        assert deployment is not None
        pod_labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert monitor["spec"]["selector"]["matchLabels"].items() <= pod_labels.items()
        ns.kubectl("delete", "podmonitor", "chat")
        wait_for("the PodMonitor to be back", lambda: ns.get("podmonitor", "chat"), told=operator.tail)
        ns.patch({"monitoring": {"podMonitor": False}})
        wait_for("the PodMonitor to go", lambda: ns.get("podmonitor", "chat") is None, told=operator.tail)
        ns.patch({"monitoring": {"podMonitor": True}})
        wait_for("the PodMonitor to be back", lambda: ns.get("podmonitor", "chat"), told=operator.tail)

    finally:
        operator.stop()


@pytest.mark.usefixtures("without_the_kind_afterwards")
def test_all_else_goes_on_when_the_kind_goes(
    control_plane: ControlPlane, namespace: str, ns: Namespace, tmp_path: Path
) -> None:
    _install(control_plane)
    operator = OperatorProcess(control_plane, tmp_path, namespaces=[namespace])
    try:
        operator.start()
        ns.apply()
        wait_for("the PodMonitor", lambda: ns.get("podmonitor", "chat"), told=operator.tail)
        control_plane.kubectl("delete", "crd", CRD)
        wait_for("it to notice", lambda: "starting over" in operator.log.read_text(), told=operator.tail)
        ns.kubectl("delete", "service", "chat")
        wait_for("the Service to be back", lambda: ns.get("service", "chat"), told=operator.tail)
    finally:
        assert operator.stop() == 0
