"""The scaling loop against pods whose /metrics are served over HTTP: up on a deficit, down when quiet, never blind."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from operator_pods import FakeEngine, engines, make_ready, wait_pods
from operator_process import Namespace, OperatorProcess, wait_for

SCALING = {"minReplicas": 1, "maxReplicas": 3, "behavior": {"scaleDown": {"stabilizationWindow": "4s"}}}


@contextmanager
def _traffic(*served: FakeEngine, qoe: float) -> Iterator[None]:
    """Requests of that QoE end on these engines, ten times a second, until the block ends."""
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.1):
            for engine in served:
                engine.serve(1, qoe=qoe)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _ready(ns: Namespace, found: list[FakeEngine]) -> None:
    for pod, engine in zip(wait_pods(ns, len(found)), found, strict=True):
        make_ready(ns, pod, engine)
    wait_for(
        f"{len(found)} ready replicas",
        lambda: ns.status().get("readyReplicas") == len(found),
        told=lambda: json.dumps(ns.status()),
    )


def _state(ns: Namespace) -> dict[str, Any]:
    state: dict[str, Any] = ns.status().get("scaling", {}).get("memory", {}).get("state", {})
    return state


def test_a_deficit_buys_replicas_and_quiet_gives_them_back(operator: OperatorProcess, ns: Namespace) -> None:
    ns.apply(scaling=SCALING)
    with engines(3) as found:
        _ready(ns, found[:1])
        found[0].open_requests, found[0].open_qoe = 30, 0.4
        with _traffic(found[0], qoe=0.4):
            wait_for("three replicas", lambda: ns.replicas() == 3, told=operator.tail)
            status = ns.status()
            decision = status["scaling"]["decisions"][0]
            assert (decision["from"], decision["to"], decision["reason"]) == (1, 3, "QoEDeficit")
            assert decision["steps"][0]["name"] == "law"
            assert status["qoe"]["mean"] < 0.6
            assert status["qoe"]["deficit"] > 0.3
        _ready(ns, found)
        for engine in found:
            engine.open_requests, engine.open_qoe = 1, 1.0
        with _traffic(*found, qoe=1.0):
            wait_for("two replicas", lambda: ns.replicas() == 2, timeout=90, told=operator.tail)
            wait_pods(ns, 2)
            wait_for("one replica", lambda: ns.replicas() == 1, timeout=90, told=operator.tail)
        reasons = [d["reason"] for d in ns.status()["scaling"]["decisions"]]
        assert reasons == ["OneFewerSuffices", "OneFewerSuffices", "QoEDeficit"]
        assert sum(reason == "QoEDeficit" for reason, _ in ns.events()) == 1


def test_the_pod_with_the_fewest_readers_goes_first(operator: OperatorProcess, ns: Namespace) -> None:
    ns.apply(scaling={**SCALING, "minReplicas": 2})
    with engines(2) as found:
        _ready(ns, found)
        busy, idle = wait_pods(ns, 2)
        found[0].open_requests = 1
        wait_for("the load to be seen", lambda: ns.status().get("qoe", {}).get("state") == "Observed")
        ns.patch({"scaling": {"minReplicas": 1}})
        (left,) = wait_pods(ns, 1, timeout=90)
        assert left["metadata"]["name"] == busy["metadata"]["name"] != idle["metadata"]["name"]


def test_without_metrics_nothing_is_taken_away_and_it_says_so(operator: OperatorProcess, ns: Namespace) -> None:
    ns.apply(scaling={**SCALING, "minReplicas": 2})
    with engines(2) as found:
        _ready(ns, found)
        ns.wait_condition("MetricsAvailable", "True", "NoTraffic")
        for engine in found:
            engine.answer = (500, b"")
        ns.patch({"scaling": {"minReplicas": 1}})
        ns.wait_condition("MetricsAvailable", "False", "Stale")
        ticks = operator.metric("andante_operator_tick_seconds_count")
        wait_for("ten ticks", lambda: operator.metric("andante_operator_tick_seconds_count") >= ticks + 10)
        assert ns.replicas() == 2
        assert "mean" not in ns.status()["qoe"]
        found[0].answer = None
        ns.wait_condition("MetricsAvailable", "False", "Partial")
        ticks = operator.metric("andante_operator_tick_seconds_count")
        wait_for("ten more", lambda: operator.metric("andante_operator_tick_seconds_count") >= ticks + 10)
        assert ns.replicas() == 2
        found[1].answer = None
        wait_for("one replica", lambda: ns.replicas() == 1, timeout=90, told=operator.tail)


def test_hostile_metrics_are_no_figure(operator: OperatorProcess, ns: Namespace) -> None:
    ns.apply(scaling=SCALING)
    with engines(1) as (engine,):
        _ready(ns, [engine])
        ns.wait_condition("MetricsAvailable", "True", "NoTraffic")
        for body in (b"andante_open_requests NaN\n", b"\xff\x00{{{", b"x" * (9 << 20)):
            engine.answer = (200, body)
            ns.wait_condition("MetricsAvailable", "False", "Stale")
            engine.answer = None
            ns.wait_condition("MetricsAvailable", "True", "NoTraffic")
        assert ns.replicas() == 1


def test_replicas_that_a_person_sets_are_his_until_given_back(operator: OperatorProcess, ns: Namespace) -> None:
    ns.apply(scaling=SCALING)
    wait_for("the Deployment", lambda: ns.replicas() == 1)
    ns.kubectl("scale", "deployment", "chat", "--replicas=2")
    assert "kubectl" in ns.wait_condition("AbleToScale", "False", "ForeignOwner")
    ns.kubectl("delete", "configmap", "chat-engine")
    wait_for("the ConfigMap to be back", lambda: ns.get("configmap", "chat-engine"))
    assert ns.replicas() == 2
    ns.patch({"scaling": {"mode": "Manual"}})
    wait_for("the Manual mode's number", lambda: ns.replicas() == 1, told=operator.tail)
    ns.patch({"scaling": {"mode": "Auto", "minReplicas": 3}})
    wait_for("the scaler's number", lambda: ns.replicas() == 3, told=operator.tail)
    ns.wait_condition("AbleToScale", "True", "Free")


def test_kubectl_scale_sets_the_replicas_in_manual_mode(operator: OperatorProcess, ns: Namespace) -> None:
    ns.apply(scaling={"mode": "Manual"})
    wait_for("the Deployment", lambda: ns.replicas() == 1)
    ns.kubectl("scale", "llmservice", "chat", "--replicas=2")
    wait_for("two replicas", lambda: ns.replicas() == 2)


def test_a_restart_keeps_replicas_and_memory(operator: OperatorProcess, ns: Namespace) -> None:
    ns.apply(scaling=SCALING)
    with engines(2) as found:
        _ready(ns, found[:1])
        found[0].open_requests, found[0].open_qoe = 30, 0.7
        with _traffic(found[0], qoe=0.7):
            wait_for("more replicas", lambda: (ns.replicas() or 0) > 1)
            # The Deployment is written before the status: a kill in between loses what this tick learned, and may.
            wait_for("the ceiling in the status", lambda: _state(ns).get("ceiling"), told=operator.tail)
            operator.kill()
            before, wanted = ns.status()["scaling"], ns.replicas()
            operator.start()
            wait_for("ticks", lambda: operator.metric("andante_operator_tick_seconds_count") >= 3)
            after = ns.status()["scaling"]
        assert (ns.replicas() or 0) >= (wanted or 0)
        assert after["memory"]["state"]["ceiling"] == before["memory"]["state"]["ceiling"]
        assert after["decisions"][-1] == before["decisions"][-1]
