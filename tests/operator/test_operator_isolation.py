"""A fault of some calls, of one namespace, or of a while costs that and no more."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hack.localcluster.api import ControlPlane
from hack.localcluster.progress import wait_until

from faulty_api import STORMS, WATCH_ERROR, FaultyAPI
from helm_release import Release, helm_binary
from operator_process import Namespace, OperatorProcess, wait_for

STORM_SECONDS = 20.0
NEVER = 10**9
WATCHED = ("first", "second")


@pytest.mark.parametrize("storm", [*STORMS, WATCH_ERROR])
def test_it_works_on_after_a_storm_of_one_fault(
    storm: str, control_plane: ControlPlane, namespace: str, ns: Namespace, tmp_path: Path
) -> None:
    operator = OperatorProcess(control_plane, tmp_path, namespaces=[namespace])
    with FaultyAPI(control_plane, tmp_path, every=NEVER) as api:
        operator.kubeconfig = api.kubeconfig
        try:
            operator.start()
            ns.apply(name="before")
            wait_for("the first service's Deployment", lambda: ns.get("deployment", "before"), told=operator.tail)
            api.storm = storm
            api.cut()
            ended = time.monotonic() + STORM_SECONDS
            wait_for("a call to meet it", lambda: api.faults[storm], told=operator.tail)
            time.sleep(max(0.0, ended - time.monotonic()))
            api.storm = None
            ns.apply(name="after")
            wait_for("the next one's", lambda: ns.get("deployment", "after"), timeout=60, told=operator.tail)
            assert operator.running()
        finally:
            operator.stop()


@pytest.fixture
def rights(tmp_path: Path) -> Iterator[tuple[ControlPlane, OperatorProcess]]:
    """A chart for two namespaces, and its operator with the chart's rights."""
    with ControlPlane() as plane:
        for name in WATCHED:
            plane.kubectl("create", "namespace", name)
        release = Release(plane, helm=helm_binary())
        release.install(tickSeconds=1, resyncSeconds=2, watchNamespaces=list(WATCHED))
        wait_until(
            lambda: plane.kubectl("explain", "llmservices.spec", check=False).returncode == 0,
            what="the API server to serve llmservices",
            timeout_seconds=60,
            poll_seconds=0.2,
        )
        operator = release.operator(tmp_path)
        try:
            yield plane, operator.start()
        finally:
            operator.stop()


def test_a_namespace_that_goes_with_its_role_costs_no_other(rights: tuple[ControlPlane, OperatorProcess]) -> None:
    plane, operator = rights
    first, second = (Namespace(plane, name) for name in WATCHED)
    for ns in (first, second):
        ns.apply(name="chat")
        wait_for("a Deployment", lambda n=ns: n.get("deployment", "chat"), told=operator.tail)
    second.kubectl("delete", "rolebinding,role", "andante-operator")
    refusals = lambda: operator.metric("andante_operator_faults_total", kind="list")  # noqa: E731
    wait_for("the operator to meet it", lambda: refusals() > 0, told=operator.tail)
    first.apply(name="after")
    wait_for("the other namespace to be served", lambda: first.get("deployment", "after"), told=operator.tail)
    assert operator.running()
    operator.stop()
    operator.start()
    first.apply(name="restarted")
    wait_for("the other namespace, after a restart", lambda: first.get("deployment", "restarted"), told=operator.tail)
    assert operator.health()[0] == 200
