"""An operator works, or it ends with a status that --help explains and says why in the last line of its log."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hack.localcluster.api import ControlPlane
from hack.localcluster.kubeconfig import write_kubeconfig

from andante.entry import main
from faulty_api import FaultyAPI
from operator_process import Namespace, OperatorProcess, wait_for


@pytest.fixture
def process(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> Iterator[OperatorProcess]:
    """An operator that the test starts."""
    process = OperatorProcess(control_plane, tmp_path, namespaces=[namespace])
    try:
        yield process
    finally:
        process.stop()


@pytest.fixture
def explained(capsys: pytest.CaptureFixture[str]) -> set[int]:
    """The exit statuses that --help explains."""
    with pytest.raises(SystemExit):
        main(["--help"])
    said = " ".join(capsys.readouterr().out.split()).split("Exit status:")[1]
    return {int(number) for number in re.findall(r"(?<!\w)\d(?!\w)", said)}


def _last_line(process: OperatorProcess) -> str:
    return process.log.read_text().rstrip().splitlines()[-1]


def _loses_its_lease(process: OperatorProcess, ns: Namespace) -> None:
    process.start()
    ns.kubectl("patch", "lease", "andante-operator", "--type=merge", "-p", '{"spec":{"holderIdentity":"another"}}')


def _has_no_right(process: OperatorProcess, ns: Namespace) -> None:
    process.kubeconfig = ns.plane.kubeconfig_for_service_account(ns.name, "default")
    process.start(wait=False)


def _has_settings_that_cannot_be(process: OperatorProcess, ns: Namespace) -> None:
    process.settings["tickSeconds"] = -1
    process.start(wait=False)


def _finds_its_port_taken(process: OperatorProcess, ns: Namespace) -> None:
    with socket.create_server(("", process.health_port)):
        process.start(wait=False)
        process.wait_exit()


@pytest.mark.parametrize(
    ("breaks", "status", "why"),
    [
        (_loses_its_lease, 4, "was taken over: waiting for the operator 'another' to stop"),
        (_has_no_right, 3, 'cannot get resource "leases" in API group "coordination.k8s.io"'),
        (_has_settings_that_cannot_be, 2, "tickSeconds"),
        (_finds_its_port_taken, 2, "address already in use"),
    ],
)
def test_an_operator_that_cannot_go_on_ends_and_says_why_last(
    breaks: Callable[[OperatorProcess, Namespace], None],
    status: int,
    why: str,
    process: OperatorProcess,
    ns: Namespace,
    explained: set[int],
) -> None:
    breaks(process, ns)
    assert process.wait_exit() == status, process.tail()
    assert status in explained
    assert why in _last_line(process)
    assert "Traceback" not in process.log.read_text()


def test_an_api_server_that_never_answers_is_waited_for(
    process: OperatorProcess, control_plane: ControlPlane, tmp_path: Path
) -> None:
    """A new process would find no other API server: this one is alive, not ready, and says what it waits for."""
    with socket.socket() as nobody_listens:
        nobody_listens.bind(("127.0.0.1", 0))
        process.kubeconfig = tmp_path / "dead.kubeconfig"
        server = f"https://127.0.0.1:{nobody_listens.getsockname()[1]}"
        write_kubeconfig(process.kubeconfig, name="dead", server=server, ca=control_plane.ca, token="none")
        process.start(wait=False)
        wait_for("the operator to say so", lambda: "waiting for the API server to answer" in process.log.read_text())
        assert process.health()[0] == 200
        status, words = process.health("/readyz")
        assert (status, words["ready"]) == (503, False)
        assert "the Lease" in words["waitingFor"]
        assert process.stop() == 0, process.tail()
    assert "Traceback" not in process.log.read_text()


def test_an_api_server_that_goes_for_good_does_not_keep_an_operator_from_its_end(
    process: OperatorProcess, control_plane: ControlPlane, tmp_path: Path
) -> None:
    with FaultyAPI(control_plane, tmp_path, every=10**9) as api:
        process.kubeconfig = api.kubeconfig
        process.start()
    wait_for("it to notice", lambda: "the lease was not renewed" in process.log.read_text(), told=process.tail)
    assert process.health()[0] == 200
    assert process.stop() == 0, process.tail()
    assert "the lease was not released" in _last_line(process)
