"""The API server goes away, by refusing or by silence, and comes back. With a control plane of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hack.localcluster.api import ControlPlane

from operator_process import ROOT, TICK_SECONDS, Namespace, OperatorProcess, wait_for

KINDS = "deployment,service,configmap,serviceaccount,poddisruptionbudget"


def _complete(ns: Namespace, name: str) -> bool:
    children = [o for o in ns.items(KINDS) if (o["metadata"].get("labels") or {}).get("andante.dev/llmservice") == name]
    return len(children) == 6


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    with ControlPlane() as plane:
        plane.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
        plane.kubectl("create", "namespace", "outage")
        wait_for(
            "the API server to serve llmservices",
            lambda: plane.kubectl("-n", "outage", "get", "lls", check=False).returncode == 0,
        )
        yield plane


@pytest.fixture
def process(plane: ControlPlane, tmp_path: Path) -> Iterator[OperatorProcess]:
    process = OperatorProcess(plane, tmp_path, namespaces=["outage"])
    try:
        yield process.start()
    finally:
        process.stop()


@pytest.mark.parametrize(("how", "seconds"), [("refused", 5), ("hanging", 30)])
def test_the_api_server_goes_and_comes_back(
    plane: ControlPlane, process: OperatorProcess, how: str, seconds: float
) -> None:
    """30 s are longer than a call's time limit, and than the Lease lasts."""
    ns, name = Namespace(plane, "outage"), f"s-{how}"
    ns.apply(name=name)
    wait_for("all children", lambda: _complete(ns, name), told=process.tail)
    ticks = process.metric("andante_operator_ticks_total")
    if how == "refused":
        plane.stop_apiserver()
    else:
        plane.pause_apiserver()
    wait_for(
        "it to go on ticking meanwhile",
        lambda: process.metric("andante_operator_ticks_total") >= ticks + seconds / TICK_SECONDS,
        timeout=60 + 4 * seconds,
        told=process.tail,
    )
    if how == "refused":
        plane.start_apiserver()
    else:
        plane.resume_apiserver()
    ns.kubectl("delete", "service", name)
    ns.apply(name=f"{name}-new")
    wait_for(
        "repair and a new service after it",
        lambda: _complete(ns, name) and _complete(ns, f"{name}-new"),
        timeout=150,
        told=process.tail,
    )
    assert process.stop() == 0


def test_what_was_deleted_in_a_gap_of_the_watch_is_repaired(plane: ControlPlane, process: OperatorProcess) -> None:
    ns = Namespace(plane, "outage")
    ns.apply(name="gap")
    wait_for("all children", lambda: _complete(ns, "gap"), told=process.tail)
    with plane.apiserver_down():
        pass
    # The watches are cut; the first to come back wins. Whichever it is, the end is the same.
    ns.kubectl("delete", "configmap", "gap-engine")
    ns.kubectl("delete", "service", "gap")
    wait_for("both to be back", lambda: _complete(ns, "gap"), timeout=150, told=process.tail)
    assert json.loads(ns.kubectl("get", "lls", "gap", "-o", "json"))["status"]["replicas"] == 1
