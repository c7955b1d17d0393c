"""An API server that is busy: conflicts, throttling, errors and lost answers among the operator's calls."""

from __future__ import annotations

import json
from pathlib import Path

from hack.localcluster.api import ControlPlane

from faulty_api import ANSWER_LOST, ANSWERS, EXPIRED, FaultyAPI
from operator_process import Namespace, OperatorProcess, wait_for

SERVICES = [f"s{number}" for number in range(4)]
KINDS = "deployment,service,configmap,serviceaccount,poddisruptionbudget"


def _settled(ns: Namespace) -> bool:
    """Every service has its six children, and its status speaks of its newest spec."""
    services = {o["metadata"]["name"]: o for o in ns.items("llmservices")}
    children = [(o["metadata"].get("labels") or {}).get("andante.dev/llmservice") for o in ns.items(KINDS)]
    return all(
        children.count(name) == 6
        and (services[name].get("status") or {}).get("observedGeneration") == services[name]["metadata"]["generation"]
        for name in SERVICES
    )


def test_it_converges_while_one_call_in_five_fails(
    control_plane: ControlPlane, namespace: str, ns: Namespace, tmp_path: Path
) -> None:
    operator = OperatorProcess(control_plane, tmp_path, namespaces=[namespace])
    with FaultyAPI(control_plane, tmp_path, every=5) as api:
        operator.kubeconfig = api.kubeconfig
        try:
            operator.start()
            for name in SERVICES:
                ns.apply(name=name)
            wait_for("the children", lambda: _settled(ns), timeout=300, told=operator.tail)
            old = {o["metadata"]["uid"] for o in ns.items("service,configmap")}
            for name in SERVICES:
                ns.kubectl("delete", "service", name, "--wait=false")
                ns.kubectl("delete", "configmap", f"{name}-engine", "--wait=false")
                ns.patch({"model": {"maxModelLen": 1024}}, name=name)
            wait_for("repair", lambda: _settled(ns), timeout=300, told=operator.tail)
            new = [o for o in ns.items("service,configmap") if o["metadata"]["uid"] not in old]
            assert len(new) == 2 * len(SERVICES)
            assert all("1024" in json.dumps(o["data"]) for o in new if o["kind"] == "ConfigMap")
            assert set(api.faults) == {*ANSWERS, ANSWER_LOST}
            assert "Traceback" not in operator.log.read_text()
        finally:
            operator.stop()


def test_the_only_object_of_a_kind_that_went_while_no_watch_told_of_it_is_made_again(
    control_plane: ControlPlane, namespace: str, ns: Namespace, tmp_path: Path
) -> None:
    operator = OperatorProcess(control_plane, tmp_path, namespaces=[namespace])
    with FaultyAPI(control_plane, tmp_path, every=10**9) as api:
        operator.kubeconfig = api.kubeconfig
        try:
            operator.start()
            ns.apply(name="chat")
            wait_for("the Service", lambda: ns.items("service") != [], told=operator.tail)
            api.storm = EXPIRED  # each watch begins anew with a list, and that of Services is empty
            api.cut()
            wait_for("the watches to be cut", lambda: api.faults[EXPIRED] > 0, told=operator.tail)
            ns.kubectl("delete", "service", "chat")
            wait_for("the Service to be back", lambda: ns.items("service") != [], timeout=60, told=operator.tail)
        finally:
            operator.stop()
