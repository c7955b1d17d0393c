"""What a status tells of a decision's inputs, and why there is no plan; who changed the replicas is told by name."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from andante.api.v1alpha1 import LLMService, ScalingStatus
from andante.app.fleet import ServiceState
from andante.app.pods import sort_pods
from andante.app.scaling.demand import NO_ARRIVALS
from andante.app.scaling.judge import judge
from andante.app.scaling.measurement import Measurement, nothing_measured
from andante.app.status.build import build_status
from andante.app.status.conditions import Observation
from andante.domain.scaling.figures import Missing, Observed
from andante.domain.scaling.memory import Memory
from andante.domain.slo.ledger import Ledger

SERVICE = LLMService.parse(
    {"metadata": {"name": "chat"}, "spec": {"model": {"id": "org/model"}, "scaling": {"maxReplicas": 10}}}
)
POD = {
    "metadata": {"name": "chat-1", "creationTimestamp": "2026-01-01T00:00:00Z"},
    "spec": {"containers": []},
    "status": {"conditions": [{"type": "Ready", "status": "True"}], "podIP": "10.0.0.1"},
}


def _measured(*, load: float) -> Measurement:
    seen = {
        name: Observed(value=value, at=100.0)
        for name, value in (("deficit", load), ("load_deficit", load), ("open_requests", 5.0))
    }
    measured = nothing_measured("not read")
    demand = dataclasses.replace(measured.demand, arrivals=Missing(why=NO_ARRIVALS))
    return dataclasses.replace(measured, demand=demand, pods_measured=1, **seen)


def _scaling(measurement: Measurement, *, replicas: int = 1, managed: list[Any] | None = None) -> ScalingStatus:
    """After a tick that found `replicas` in the Deployment, where the status said that one is wanted."""
    state = ServiceState(uid="u", namespace="n", name="chat")
    pods, deployment = sort_pods([POD]), {"spec": {"replicas": replicas}, "metadata": {"managedFields": managed or []}}
    result = judge(
        SERVICE,
        deployment=deployment,
        pods=pods,
        measurement=measurement,
        memory=Memory(),
        ledger=Ledger(),
        window=60.0,
        now=2e9,
    )
    state.decide(result, desired=1, at=2e9)
    observation = Observation(
        service=SERVICE,
        pods=pods,
        deployment=deployment,
        wanted_replicas=replicas,
        measurement=measurement,
        decision=result.decision,
        made=tuple(state.made),
    )
    scaling = build_status(observation, memory=None, now=2e9).scaling
    assert scaling is not None
    return scaling


def test_a_decision_tells_what_it_was_made_on_and_leaves_out_what_was_not_measured() -> None:
    (decision,) = _scaling(_measured(load=0.3)).decisions
    assert decision.inputs is not None
    assert decision.inputs.to_wire() == {
        "readyReplicas": 1, "startingReplicas": 0, "measuredReplicas": 1, "loadDeficit": 0.3, "openRequests": 5.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("measurement", "why"),
    [(_measured(load=0.0), NO_ARRIVALS), (nothing_measured("no replica is ready"), "no replica is ready")],
)
def test_the_status_says_why_there_is_no_plan(measurement: Measurement, why: str) -> None:
    assert _scaling(measurement).plan_missing == why


def test_a_change_by_another_tool_is_told_as_its_own_also_without_metrics() -> None:
    hpa = {"manager": "kube-controller-manager", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
    (decision,) = _scaling(nothing_measured("Prometheus is down"), replicas=2, managed=[hpa]).decisions
    assert (decision.from_, decision.to, decision.reason) == (1, 2, "ForeignOwner")
    assert "a HorizontalPodAutoscaler" in decision.message
    assert "kubectl get hpa" in decision.message
