"""Which changes of a status are told as Events: decisions once, and conditions that turned bad or good again."""

from __future__ import annotations

from typing import Any

import pytest

from andante.app.status.events import MODE, Event, of_conditions, of_decisions
from andante.domain.scaling.guards import GUARDS


def _status(**conditions: str) -> dict[str, Any]:
    """Each condition as `status/Reason`."""
    found = []
    for kind, said in conditions.items():
        status, _, reason = said.partition("/")
        found.append({"type": kind, "status": status, "reason": reason, "message": f"because of {reason}"})
    return {"conditions": found}


def _told(kind: str, before: str | None, after: str) -> list[tuple[str, str]]:
    live = {} if before is None else _status(**{kind: before})
    return [(event.kind, event.reason) for event in of_conditions(live, _status(**{kind: after}))]


@pytest.mark.parametrize(
    ("kind", "before", "after", "told"),
    [
        ("Ready", "True/Serving", "False/EngineStarting", [("Warning", "EngineStarting")]),
        ("Ready", "True/Serving", "False/ScaledToZero", [("Normal", "ScaledToZero")]),
        ("Ready", None, "True/Serving", [("Normal", "Ready")]),
        ("MetricsAvailable", "True/Measured", "False/Missing", [("Warning", "Missing")]),
        ("MetricsAvailable", "False/Stale", "True/Measured", [("Normal", "Measured")]),
        ("SLOMet", "True/BudgetLeft", "False/BudgetSpent", [("Warning", "BudgetSpent")]),
        ("SLOMet", "Unknown/NotMeasured", "False/BudgetSpent", [("Warning", "BudgetSpent")]),
        ("SLOMet", "False/BudgetSpent", "True/BudgetLeft", [("Normal", "BudgetLeft")]),
        ("AbleToScale", "True/Free", "False/MaxReplicas", [("Warning", "MaxReplicas")]),
        ("AbleToScale", "False/MaxReplicas", "False/ForeignOwner", [("Warning", "ForeignOwner")]),
        ("AbleToScale", "True/Free", "False/RateLimited", [("Normal", "RateLimited")]),
        ("Degraded", None, "True/ImagePullFailed", [("Warning", "ImagePullFailed")]),
        ("Degraded", "True/ImagePullFailed", "True/CrashLoop", [("Warning", "CrashLoop")]),
        ("Degraded", "True/CrashLoop", "False/AsWanted", [("Normal", "AsWanted")]),
        ("EngineCompatible", "Unknown/NotReported", "False/PolicyFailed", [("Warning", "PolicyFailed")]),
        ("ObjectiveUnreachable", "False/Reachable", "True/LongPrompts", [("Warning", "LongPrompts")]),
        ("RolledOut", "True/UpToDate", "False/RollingOut", [("Normal", "RollingOut")]),
        ("RolledOut", "False/RollingOut", "True/UpToDate", [("Normal", "UpToDate")]),
        ("SpecValid", "True/Valid", "False/NotAllowed", [("Warning", "NotAllowed")]),
    ],
)
def test_a_turn_is_told(kind: str, before: str | None, after: str, told: list[tuple[str, str]]) -> None:
    assert _told(kind, before, after) == told


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        ("Ready", "Unknown/WaitingForOperator", "False/EngineStarting"),
        ("Ready", "True/Serving", "True/Serving"),
        ("MetricsAvailable", "Unknown/NoReplicas", "False/Missing"),  # the first sample of a new replica
        ("MetricsAvailable", "Unknown/NotReadYet", "True/Measured"),  # the operator started
        ("MetricsAvailable", "True/Measured", "True/NoTraffic"),
        ("MetricsAvailable", "True/Measured", "Unknown/NoReplicas"),
        ("Degraded", None, "False/AsWanted"),
        ("SLOMet", "Unknown/NoTraffic", "True/BudgetLeft"),
        ("RolledOut", "Unknown/NoDeployment", "False/RollingOut"),
        ("Progressing", "False/Settled", "True/ReplicasChanging"),
    ],
)
def test_what_is_no_turn_is_not_told(kind: str, before: str | None, after: str) -> None:
    assert _told(kind, before, after) == []


def test_a_new_service_that_starts_well_is_told_only_when_it_serves() -> None:
    starting = _status(SpecValid="True/Valid", Ready="False/EngineStarting", Degraded="False/AsWanted")
    serving = _status(SpecValid="True/Valid", Ready="True/Serving", Degraded="False/AsWanted", AbleToScale="True/Free")
    assert list(of_conditions({}, starting)) == []
    assert [event.reason for event in of_conditions(starting, serving)] == ["Ready"]


def test_each_decision_is_told_once_oldest_first() -> None:
    def decided(at: str, before: int, after: int) -> dict[str, Any]:
        return {"at": at, "from": before, "to": after, "reason": "QoEDeficit", "message": "readers wait"}

    first, second = decided("1", 1, 2), decided("2", 2, 3)
    live = {"scaling": {"decisions": [first]}}
    assert list(of_decisions(live, {"scaling": {"decisions": [second, first]}})) == [
        Event(
            kind="Normal",
            reason="QoEDeficit",
            message="2 -> 3 replicas: readers wait",
            series="2 -> 3 replicas",
        )
    ]
    assert [event.message[:6] for event in of_decisions({}, {"scaling": {"decisions": [second, first]}})] == [
        "1 -> 2",
        "2 -> 3",
    ]


@pytest.mark.parametrize("mode", ["Advisory", "Manual"])
def test_advice_is_told_as_advice(mode: str) -> None:
    law = {"name": "law", "reason": "QoEDeficit", "replicas": 3, "message": "m", "clamped": False}
    advice = {"name": "mode", "reason": mode, "replicas": 3, "message": "advice", "clamped": False}
    decision = {"at": "t", "from": 1, "to": 3, "reason": "QoEDeficit", "message": "too low", "steps": [law, advice]}
    (event,) = of_decisions({}, {"scaling": {"decisions": [decision]}})
    assert event.message == f"advice only, as scaling.mode is {mode}: 1 -> 3 replicas: too low"


def test_the_step_that_makes_advice_is_a_guard_rail_of_that_name() -> None:
    assert MODE in [guard.__name__ for guard in GUARDS]


def test_a_field_without_effect_is_told_once_for_each_text_though_the_spec_is_valid() -> None:
    valid = _status(SpecValid="True/Valid")
    scaled = _status(SpecValid="True/FieldsWithoutEffect")
    scaled["conditions"][0]["message"] = "spec.replicas is 5 and has no effect"
    (event,) = of_conditions(valid, scaled)
    assert (event.kind, event.reason) == ("Warning", "FieldsWithoutEffect")
    assert list(of_conditions(scaled, scaled)) == []
    again = _status(SpecValid="True/FieldsWithoutEffect")
    again["conditions"][0]["message"] = "spec.replicas is 7 and has no effect"
    assert [event.message for event in of_conditions(scaled, again)] == ["spec.replicas is 7 and has no effect"]
    assert list(of_conditions(again, valid)) == []
