"""Until an operator acts on a service, the API server itself says so."""

from __future__ import annotations

import json

from andante.api.v1alpha1 import LLMServiceStatus
from operator_process import Namespace, OperatorProcess, service_manifest, wait_for


def test_a_service_that_nobody_acts_on_waits_for_an_operator(ns: Namespace) -> None:
    ns.apply()
    ready = ns.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("Unknown", "WaitingForOperator")
    assert "kubectl get pods --all-namespaces --selector app.kubernetes.io/name=andante-operator" in ready["message"]


def test_kubectl_get_shows_it(ns: Namespace) -> None:
    ns.apply()
    header, row = ns.kubectl("get", "lls", "chat").splitlines()
    assert header.split()[:2] == ["NAME", "READY"]
    assert row.split()[:2] == ["chat", "Ready:WaitingForOperator"]


def test_a_status_that_a_client_sends_at_creation_does_not_take_its_place(ns: Namespace) -> None:
    """The API server drops it: status is a subresource."""
    sent = json.dumps({**service_manifest(), "status": {"endpoint": "http://elsewhere"}})
    created = json.loads(ns.kubectl("create", "-o", "json", "-f", "-", stdin=sent))
    assert [c["reason"] for c in created["status"]["conditions"]] == ["WaitingForOperator"]
    assert "endpoint" not in created["status"]


def test_nobody_s_word_is_no_status_to_the_operator(ns: Namespace) -> None:
    ns.apply()
    assert LLMServiceStatus.parse(ns.get("llmservice", "chat") or {}) == LLMServiceStatus()


def test_a_change_of_the_spec_leaves_it(ns: Namespace) -> None:
    ns.apply()
    ns.patch({"scaling": {"maxReplicas": 3}})
    assert ns.condition("Ready")["reason"] == "WaitingForOperator"


def test_the_first_status_takes_its_place(operator: OperatorProcess, ns: Namespace) -> None:
    ns.apply()
    wait_for("the status", lambda: ns.status().get("observedGeneration") == 1, told=operator.tail)
    ready = ns.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("False", "EngineStarting")
    assert not ready["lastTransitionTime"].startswith("1970")


def test_a_status_without_conditions_does_not_bring_it_back(ns: Namespace) -> None:
    ns.apply()
    empty = json.dumps({"status": {"conditions": [], "replicas": 0}})
    ns.kubectl("patch", "lls", "chat", "--subresource=status", "--type=merge", "-p", empty)
    assert ns.condition("Ready")["reason"] == "Absent"
