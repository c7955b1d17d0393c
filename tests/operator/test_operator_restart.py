"""The operator dies, starts again, or is one of two: it always converges."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hack.localcluster.api import ControlPlane

from operator_pods import engines, serve_all, traffic
from operator_process import Namespace, OperatorProcess, wait_for

KINDS = "deployment,service,configmap,serviceaccount,poddisruptionbudget"

LISTED = (
    "LLMService", "ServiceAccount", "ConfigMap", "Service", "PodDisruptionBudget", "NetworkPolicy", "Deployment", "Pod",
)  # fmt: skip
"""Kinds that every cluster has."""


def _complete(ns: Namespace, name: str) -> bool:
    children = [o for o in ns.items(KINDS) if (o["metadata"].get("labels") or {}).get("andante.dev/llmservice") == name]
    return len(children) == 6


ORDER = ("ServiceAccount", "ConfigMap", "Service", "PodDisruptionBudget", "Deployment")
"""In which children are made."""


def test_killed_after_any_child_it_goes_on_where_it_stopped(operator: OperatorProcess, ns: Namespace) -> None:
    """A kill between two calls leaves the first so many children: made by hand here, to hit every such moment."""
    names = [f"after-{number}" for number in range(len(ORDER))]
    for name in names:
        ns.apply(name=name)
    for name in names:
        wait_for(f"all children of {name}", lambda n=name: _complete(ns, n), told=operator.tail)
    operator.kill()
    for number, name in enumerate(names):
        for kind in ORDER[number:]:
            ns.kubectl("delete", kind, *((f"{name}-engine", f"{name}-alerts") if kind == "ConfigMap" else (name,)))
    operator.start()
    for name in names:
        wait_for(f"all children of {name} again", lambda n=name: _complete(ns, n), told=operator.tail)


def test_killed_under_a_stream_of_new_services_it_serves_them_all(operator: OperatorProcess, ns: Namespace) -> None:
    for number in range(6):
        ns.apply(name=f"s{number}")
        if number % 2:
            operator.kill()
            operator.start(wait=False)
    operator.wait_working()
    for number in range(6):
        wait_for(f"the children of s{number}", lambda n=number: _complete(ns, f"s{n}"), told=operator.tail)


def test_a_restart_costs_no_write_where_nothing_changed(operator: OperatorProcess, ns: Namespace) -> None:
    ns.apply()
    wait_for("the status", lambda: ns.status().get("replicas") == 1)
    versions = {o["metadata"]["uid"]: o["metadata"]["resourceVersion"] for o in ns.items(KINDS)}
    operator.stop()
    operator.start()
    wait_for("three ticks", lambda: operator.metric("andante_operator_ticks_total") >= 3)
    assert {o["metadata"]["uid"]: o["metadata"]["resourceVersion"] for o in ns.items(KINDS)} == versions


def test_what_happened_while_it_was_away_is_seen(operator: OperatorProcess, ns: Namespace) -> None:
    ns.apply()
    wait_for("all children", lambda: _complete(ns, "chat"))
    operator.stop()
    ns.kubectl("delete", "service", "chat")
    ns.apply(name="other")
    operator.start()
    wait_for("the Service and the other service", lambda: _complete(ns, "chat") and _complete(ns, "other"))


def test_a_field_that_the_spec_drops_is_dropped_also_after_a_restart(operator: OperatorProcess, ns: Namespace) -> None:
    engine = {"gpusPerReplica": 0, "virtualGPU": {"profile": "llama-3-8b-1xa100"}}
    ns.apply(engine={**engine, "nodeSelector": {"pool": "fast"}})

    def selector() -> Any:
        deployment = ns.get("deployment", "chat")
        return deployment and deployment["spec"]["template"]["spec"].get("nodeSelector", "none")

    wait_for("the selector", lambda: selector() == {"pool": "fast"})
    operator.kill()
    ns.patch({"engine": {"nodeSelector": None}})
    operator.start()
    wait_for("the selector to go", lambda: selector() == "none", told=operator.tail)


def _lists(operator: OperatorProcess, kind: str) -> float:
    return operator.metric("andante_operator_api_calls_total", kind=kind, verb="list")


def test_a_new_service_costs_at_most_thirteen_calls_and_an_idle_one_none(
    operator: OperatorProcess, ns: Namespace
) -> None:
    # The watches begin with a list each, after which the operator lists once more.
    wait_for("its start to be over", lambda: all(_lists(operator, kind) >= 2 for kind in LISTED), told=operator.tail)
    before = operator.api_calls()
    ns.apply()
    wait_for("all children", lambda: _complete(ns, "chat"), told=operator.tail)
    wait_for("the status", lambda: ns.status().get("replicas") == 1, told=operator.tail)
    ticks = operator.metric("andante_operator_ticks_total")
    wait_for("three more ticks", lambda: operator.metric("andante_operator_ticks_total") >= ticks + 3)
    settled = operator.api_calls()
    assert settled - before <= 13
    wait_for("five idle ticks", lambda: operator.metric("andante_operator_ticks_total") >= ticks + 8)
    assert operator.api_calls() == settled


def _state(ns: Namespace) -> dict[str, Any]:
    state: dict[str, Any] = ns.status().get("scaling", {}).get("memory", {}).get("state", {})
    return state


def test_a_restart_keeps_replicas_and_memory(operator: OperatorProcess, ns: Namespace) -> None:
    ns.apply(scaling={"minReplicas": 1, "maxReplicas": 3})
    with engines(2) as found:
        serve_all(ns, found[:1])
        found[0].open_requests, found[0].open_qoe = 30, 0.7
        with traffic(found[0], qoe=0.7):
            wait_for("more replicas", lambda: (ns.replicas() or 0) > 1)
            # The Deployment is written before the status: a kill in between loses what this tick learned, and may.
            wait_for("the ceiling in the status", lambda: _state(ns).get("ceiling"), told=operator.tail)
            operator.kill()
            before, wanted = ns.status()["scaling"], ns.replicas()
            operator.start()
            wait_for("ticks", lambda: operator.metric("andante_operator_ticks_total") >= 3)
            after = ns.status()["scaling"]
        assert (ns.replicas() or 0) >= (wanted or 0)
        # Its time moves on with every decision on a deficit; the load is what was learned.
        assert after["memory"]["state"]["ceiling"][1] == before["memory"]["state"]["ceiling"][1]
        assert after["decisions"][-1] == before["decisions"][-1]


def test_it_stops_on_sigterm_with_status_0(operator: OperatorProcess, ns: Namespace) -> None:
    ns.apply()
    assert operator.stop() == 0


def test_healthz_says_that_it_is_alive(operator: OperatorProcess) -> None:
    status, words = operator.health()
    assert (status, words["alive"]) == (200, True)
    assert operator.health("/readyz") == (200, {"ready": True})


@pytest.fixture
def second(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> Iterator[OperatorProcess]:
    folder = tmp_path / "second"
    folder.mkdir()
    process = OperatorProcess(control_plane, folder, namespaces=[namespace])
    yield process
    process.stop()


def test_a_second_operator_waits_and_takes_over(
    operator: OperatorProcess, second: OperatorProcess, ns: Namespace
) -> None:
    second.start(wait=False)
    wait_for("the second to say whom it waits for", lambda: "waiting for the operator" in second.log.read_text())
    assert (second.health()[0], second.health("/readyz")[0]) == (200, 503)
    ns.apply()
    wait_for("all children", lambda: _complete(ns, "chat"))
    assert second.api_calls() == 0
    operator.stop()
    second.wait_working()
    ns.kubectl("delete", "service", "chat")
    wait_for("the second to repair", lambda: _complete(ns, "chat"), told=second.tail)


def test_an_operator_that_stops_leaves_no_lease(operator: OperatorProcess, ns: Namespace) -> None:
    assert ns.get("lease", "andante-operator") is not None
    operator.stop()
    assert ns.get("lease", "andante-operator") is None


def test_no_secret_reaches_the_log(operator: OperatorProcess, ns: Namespace, control_plane: ControlPlane) -> None:
    operator.stop()
    ns.apply()
    operator.start()
    wait_for("all children", lambda: _complete(ns, "chat"))
    assert control_plane.token not in operator.log.read_text()
