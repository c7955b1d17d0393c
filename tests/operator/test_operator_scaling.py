"""The scaling loop against pods whose /metrics are served over HTTP: up on a deficit, down when quiet, never blind."""

from __future__ import annotations

import json

import pytest

from operator_pods import engines, make_unready, serve_all, traffic, wait_pods
from operator_process import Namespace, OperatorProcess, wait_for

SCALING = {"minReplicas": 1, "maxReplicas": 3, "behavior": {"scaleDown": {"stabilizationWindow": "4s"}}}


@pytest.fixture
def operator(standing_operator: OperatorProcess) -> OperatorProcess:
    """No test here stops it."""
    return standing_operator


@pytest.fixture
def ns(served: Namespace) -> Namespace:
    return served


def test_a_deficit_buys_replicas_and_quiet_gives_them_back(operator: OperatorProcess, ns: Namespace) -> None:
    ns.apply(scaling=SCALING)
    with engines(3) as found:
        serve_all(ns, found[:1])
        found[0].open_requests, found[0].open_qoe = 30, 0.4
        with traffic(found[0], qoe=0.4):
            wait_for("three replicas", lambda: ns.replicas() == 3, told=operator.tail)
            # The Deployment is written before the status.
            wait_for("the reason", lambda: ns.status().get("scaling", {}).get("decisions"), told=operator.tail)
            status = ns.status()
            decision = status["scaling"]["decisions"][0]
            assert (decision["from"], decision["to"], decision["reason"]) == (1, 3, "QoEDeficit")
            assert decision["steps"][0]["name"] == "law"
            assert status["qoe"]["mean"] < 0.6
            assert status["qoe"]["deficit"] > 0.3
        serve_all(ns, found)
        for engine in found:
            engine.open_requests, engine.open_qoe = 1, 1.0
        with traffic(*found, qoe=1.0):
            wait_for("two replicas", lambda: ns.replicas() == 2, timeout=90, told=operator.tail)
            wait_pods(ns, 2)
            wait_for("one replica", lambda: ns.replicas() == 1, timeout=90, told=operator.tail)
        # The Deployment is written first, the status after it.
        wait_for(
            "the decisions in the status",
            lambda: (
                [d["reason"] for d in ns.status()["scaling"]["decisions"]]
                == ["OneFewerSuffices", "OneFewerSuffices", "QoEDeficit"]
            ),
            told=lambda: json.dumps(ns.status()),
        )
        assert sum(reason == "QoEDeficit" for reason, _ in ns.events()) == 1


def test_what_idle_replicas_lack_too_buys_none_and_says_so(operator: OperatorProcess, ns: Namespace) -> None:
    ns.apply(scaling=SCALING)
    with engines(1) as (engine,):
        serve_all(ns, [engine])
        engine.thinks, engine.open_requests = True, 30
        with traffic(engine, qoe=0.4):
            ns.wait_condition("ObjectiveUnreachable", "True", "Reasoning")
            ticks = operator.metric("andante_operator_ticks_total")
            wait_for("six ticks", lambda: operator.metric("andante_operator_ticks_total") >= ticks + 6)
            assert ns.replicas() == 1
            qoe = ns.status()["qoe"]
            assert qoe["loadDeficit"] == 0
            assert qoe["deficit"] == qoe["idleDeficit"] > 0.1
            engine.thinks = False
            wait_for("a second replica", lambda: ns.replicas() > 1, told=operator.tail)


def test_what_readers_lack_on_a_pod_that_fails_its_readiness_buys_replicas(
    operator: OperatorProcess, ns: Namespace
) -> None:
    ns.apply(scaling={**SCALING, "minReplicas": 2})
    with engines(2) as found:
        serve_all(ns, found)
        make_unready(ns, wait_pods(ns, 2)[1], found[1])
        found[1].open_requests, found[1].open_qoe = 30, 0.4
        with traffic(found[1], qoe=0.4):
            wait_for("a third replica", lambda: ns.replicas() == 3, told=operator.tail)
        # The status may be a second older than the replicas: it is not written more often.
        wait_for("the status to tell", lambda: ns.status()["readyReplicas"] == 1, told=operator.tail)


def test_requests_of_an_engine_that_went_are_counted(operator: OperatorProcess, ns: Namespace) -> None:
    ns.apply(scaling={**SCALING, "minReplicas": 2})
    with engines(2) as found:
        serve_all(ns, found)
        found[1].open_requests = 7
        wait_for("the load to be seen", lambda: ns.status().get("qoe", {}).get("state") == "Observed")
        ticks = operator.metric("andante_operator_ticks_total")
        wait_for("two ticks", lambda: operator.metric("andante_operator_ticks_total") >= ticks + 2)
        assert operator.metric("andante_operator_objects", kind="Pod") >= 2
        assert operator.metric("andante_operator_service_states") >= 1
        before = operator.metric("andante_operator_open_requests_gone_total")
        ns.kubectl("delete", "pod", wait_pods(ns, 2)[1]["metadata"]["name"], "--force", "--grace-period=0")
        wait_for(
            "its requests to be counted",
            lambda: operator.metric("andante_operator_open_requests_gone_total") == before + 7,
            told=operator.tail,
        )


def test_the_pod_with_the_fewest_readers_goes_first(operator: OperatorProcess, ns: Namespace) -> None:
    ns.apply(scaling={**SCALING, "minReplicas": 2})
    with engines(2) as found:
        serve_all(ns, found)
        busy, idle = wait_pods(ns, 2)
        found[0].open_requests = 1
        wait_for("the load to be seen", lambda: ns.status().get("qoe", {}).get("state") == "Observed")
        ns.patch({"scaling": {"minReplicas": 1}})
        (left,) = wait_pods(ns, 1, timeout=90)
        assert left["metadata"]["name"] == busy["metadata"]["name"] != idle["metadata"]["name"]


@pytest.mark.parametrize("mode", ["Auto", "Manual"])
def test_the_pod_with_the_fewest_readers_goes_first_when_a_person_lowers_the_number(
    operator: OperatorProcess, ns: Namespace, mode: str
) -> None:
    ns.apply(scaling={**SCALING, "minReplicas": 2, "mode": mode}, replicas=2)
    with engines(2) as found:
        serve_all(ns, found)
        idle, busy = wait_pods(ns, 2)
        # The unmarked choice of Kubernetes is the newer pod, or any: let the older one be the empty one.
        found[1].open_requests = 5
        with traffic(found[1], qoe=1.0):
            wait_for("the load to be seen", lambda: ns.status().get("qoe", {}).get("state") == "Observed")
            lower = {"replicas": 1} if mode == "Manual" else {"scaling": {"minReplicas": 1, "maxReplicas": 1}}
            ns.patch(lower)
            (left,) = wait_pods(ns, 1, timeout=60)
        assert left["metadata"]["name"] == busy["metadata"]["name"] != idle["metadata"]["name"]


def test_without_metrics_nothing_is_taken_away_and_it_says_so(operator: OperatorProcess, ns: Namespace) -> None:
    ns.apply(scaling={**SCALING, "minReplicas": 2})
    with engines(2) as found:
        serve_all(ns, found)
        ns.wait_condition("MetricsAvailable", "True", "NoTraffic")
        for engine in found:
            engine.answer = (500, b"")
        assert "/metrics: HTTP 500" in ns.wait_condition("MetricsAvailable", "False", "Stale")
        # Only now: until the metrics are stale, the quiet that they showed may justify one fewer.
        ns.patch({"scaling": {"minReplicas": 1}})
        ticks = operator.metric("andante_operator_ticks_total")
        wait_for("six ticks", lambda: operator.metric("andante_operator_ticks_total") >= ticks + 6)
        assert ns.replicas() == 2
        assert "mean" not in ns.status()["qoe"]
        found[0].answer = None
        assert "/metrics: HTTP 500" in ns.wait_condition("MetricsAvailable", "False", "Partial")
        ticks = operator.metric("andante_operator_ticks_total")
        wait_for("six more", lambda: operator.metric("andante_operator_ticks_total") >= ticks + 6)
        assert ns.replicas() == 2
        found[1].answer = None
        wait_for("one replica", lambda: ns.replicas() == 1, timeout=90, told=operator.tail)


def test_hostile_metrics_are_no_figure(operator: OperatorProcess, ns: Namespace) -> None:
    ns.apply(scaling=SCALING)
    with engines(1) as (engine,):
        serve_all(ns, [engine])
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
