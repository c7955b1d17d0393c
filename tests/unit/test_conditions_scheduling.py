"""EngineCompatible: what the engines say of their scheduling, brought up to the service."""

from __future__ import annotations

import pytest

from andante.api.v1alpha1 import LLMService
from andante.app.pods import sort_pods
from andante.app.scaling.measurement import nothing_measured
from andante.app.status.conditions import Observation, conditions

FAILED = "policy failed: IndexError: index 5 is out of bounds"


def told(**scheduling: str | None) -> tuple[str, str, str]:
    """Status, reason and message for pods that say so of their scheduling."""
    observation = Observation(
        service=LLMService.parse({"metadata": {"name": "chat"}, "spec": {"model": {"id": "org/model"}}}),
        pods=sort_pods([]),
        deployment=None,
        wanted_replicas=1,
        measurement=nothing_measured("no pod was read", scheduling=scheduling),
    )
    (condition,) = (c for c in conditions(observation, now=0.0) if c.type == "EngineCompatible")
    return condition.status, condition.reason, condition.message


@pytest.mark.parametrize(
    ("said", "status", "reason"),
    [
        ({}, "Unknown", "NotReported"),
        ({"a": ""}, "True", "PolicyActive"),
        ({"a": "policy fcfs"}, "True", "StockScheduling"),
        ({"a": "", "b": "untested vLLM 9.9.9 (tested: 0.32.0)"}, "False", "EngineVersionUntested"),
        ({"a": "", "b": FAILED}, "False", "PolicyFailed"),
        ({"a": "untested vLLM 9.9.9 (tested: 0.32.0)", "b": FAILED}, "False", "PolicyFailed"),
    ],
)
def test_what_one_engine_says_is_what_the_service_is(said: dict[str, str], status: str, reason: str) -> None:
    assert told(**said)[:2] == (status, reason)


def test_a_policy_that_failed_is_told_with_its_pod_and_error() -> None:
    message = told(a="", b=FAILED, c=FAILED)[2]
    assert message.startswith(f"pod b, and 1 more: {FAILED}; ")
