"""A service's status after one tick of the scaler, from objects as the API server has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from andante.api.v1alpha1 import LLMService, LLMServiceStatus
from andante.app.fleet import ServiceState
from andante.app.pods import sort_pods
from andante.app.scaling.judge import judge
from andante.app.scaling.measurement import Measurement
from andante.app.status.build import build_status
from andante.app.status.conditions import Observation
from andante.domain.scaling.memory import Memory
from andante.domain.slo.ledger import Ledger
from andante.ports import Object

NOW = 2e9


def ready_pod(name: str) -> Object:
    """A pod that serves."""
    return {
        "metadata": {"name": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"containers": []},
        "status": {"conditions": [{"type": "Ready", "status": "True"}], "podIP": "10.0.0.1"},
    }


def status_after_tick(
    service: LLMService,
    measurement: Measurement,
    *,
    pods: int,
    replicas: int,
    desired: int,
    managed: Sequence[Any] = (),
) -> LLMServiceStatus:
    """After a tick that found `replicas` in the Deployment and so many ready `pods`, where the status before said that
    `desired` are wanted. `managed`: the Deployment's managedFields."""
    state = ServiceState(uid="u", namespace=service.namespace, name="chat")
    found = sort_pods([ready_pod(f"chat-{number}") for number in range(pods)])
    deployment = {"spec": {"replicas": replicas}, "metadata": {"managedFields": list(managed)}}
    result = judge(
        service,
        deployment=deployment,
        pods=found,
        measurement=measurement,
        memory=Memory(),
        ledger=Ledger(),
        window=60.0,
        now=NOW,
    )
    state.decide(result, desired=desired, at=NOW)
    observation = Observation(
        service=service,
        pods=found,
        deployment=deployment,
        wanted_replicas=replicas,
        measurement=measurement,
        decision=result.decision,
        made=tuple(state.made),
    )
    return build_status(observation, memory=result.memory, now=NOW)
