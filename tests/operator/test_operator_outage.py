"""The API server goes away, by refusing or by silence, and comes back. With a control plane of its own."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hack.localcluster.api import ControlPlane

from andante.runtime.relist import AFTER_LIST_SECONDS
from chaos.proxy import ChaosAPI, Request, Rule
from operator_process import ROOT, TICK_SECONDS, Namespace, OperatorProcess, wait_for

KINDS = "deployment,service,configmap,serviceaccount,poddisruptionbudget"


def _complete(ns: Namespace, name: str) -> bool:
    children = [o for o in ns.items(KINDS) if (o["metadata"].get("labels") or {}).get("andante.dev/llmservice") == name]
    return len(children) == 6


def _pod(ns: Namespace, name: str) -> str | None:
    """Name of the service's first pod."""
    names = sorted(o["metadata"]["name"] for o in ns.items("pods"))
    return next((pod for pod in names if pod.startswith(f"{name}-")), None)


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


def test_a_status_is_written_though_the_watch_of_its_service_is_silent(plane: ControlPlane, tmp_path: Path) -> None:
    """As after an outage, while this watch alone still waits for its next try: without another look, every write of the
    status meets a conflict."""
    ns, seen = Namespace(plane, "outage"), [0.0]

    def watches_services(request: Request) -> bool:
        """Also notes when services were listed or watched last."""
        if "/llmservices" in request.path:
            seen.append(time.monotonic())
        return request.watch and "/llmservices" in request.path

    with ChaosAPI(plane, tmp_path, operator="one", token=plane.token, on_write=lambda write: None) as api:
        process = OperatorProcess(plane, tmp_path, namespaces=["outage"])
        process.kubeconfig = api.kubeconfig
        process.start()
        try:
            ns.apply(name="silent")
            wait_for("all children", lambda: _complete(ns, "silent") and ns.status("silent"), told=process.tail)
            with api.rule(Rule(how="hang", applies=watches_services)) as silent:
                api.cut()
                wait_for(
                    "the watch to come again, and the lists that follow to be over",
                    lambda: silent.met and time.monotonic() - seen[-1] > 2 * AFTER_LIST_SECONDS,
                    told=process.tail,
                )
                ns.patch({"model": {"maxModelLen": 2048}}, name="silent")
                pod = wait_for("its pod", lambda: _pod(ns, "silent"), told=process.tail)
                ready = json.dumps({"status": {"conditions": [{"type": "Ready", "status": "True"}]}})
                ns.kubectl("patch", "pod", pod, "--subresource=status", "--type=merge", "-p", ready)
                wait_for(
                    "the status of the newest generation",
                    lambda: ns.status("silent").get("observedGeneration") == 2,
                    told=process.tail,
                )
        finally:
            process.stop()
