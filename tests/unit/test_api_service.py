"""LLMService.parse: defaults, what they resolve to, and errors that name every field."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from andante.api.v1alpha1 import LLMService, LLMServiceStatus, QoEStatus, SpecError
from andante.domain.pace import PRESETS


def service(**spec: Any) -> LLMService:
    return LLMService.parse({"metadata": {"name": "chat"}, "spec": {"model": {"id": "org/model"}, **spec}})


def test_a_model_is_all_that_is_needed() -> None:
    least = service()
    assert least.served_name == "chat"
    assert least.spec.model.source.is_hub
    assert least.spec.engine.resolved_tensor_parallel_size == 1
    assert least.spec.scaling.resolved_max_replicas == 1
    assert least.spec.qoe.resolved_default_class == "reading"


def test_tensor_parallelism_follows_the_gpus() -> None:
    assert service(engine={"gpusPerReplica": 4}).spec.engine.resolved_tensor_parallel_size == 4


def test_the_first_class_is_the_default_one() -> None:
    classes = [{"name": "voice"}, {"name": "batch"}]
    assert service(qoe={"classes": classes}).spec.qoe.to_settings().default_class == "voice"


@pytest.mark.parametrize("pace", [1e-300, 0.009])
def test_a_class_of_a_pace_that_is_nobodys_is_refused(pace: float) -> None:
    with pytest.raises(ValueError, match="pace"):
        service(qoe={"classes": [{"name": "reading", "pace": pace}]}).spec.qoe.to_settings()


def test_a_preset_keeps_what_is_not_replaced() -> None:
    settings = service(qoe={"classes": [{"name": "reading", "pace": 6, "weight": 2}]}).spec.qoe.to_settings()
    reading = settings.classes[0].to_domain()
    assert reading.expected_ttft == PRESETS["reading"].expected_ttft
    assert (reading.pace, reading.weight) == (6, 2)


def test_a_deadline_alone_makes_an_agent() -> None:
    settings = service(qoe={"classes": [{"name": "tool", "deadline": "20s"}]}).spec.qoe.to_settings()
    assert settings.classes[0].to_domain().deadline == 20


def test_manual_replicas_default_to_the_floor() -> None:
    assert service(scaling={"mode": "Manual", "minReplicas": 2}).fixed_replicas == 2
    assert service(replicas=0, scaling={"mode": "Manual", "minReplicas": 2}).fixed_replicas == 0


def test_the_scale_down_window_defaults_to_five_minutes_and_up_to_none() -> None:
    behavior = service().spec.scaling.behavior
    assert (behavior.scale_up_window_seconds, behavior.scale_down_window_seconds) == (0, 300)


@pytest.mark.parametrize("window", ["0s", "60s", "5m", "7m", "30m", "1h"])
def test_a_scale_down_window_is_the_whole_time_in_which_the_plan_and_its_forecast_must_last(window: str) -> None:
    behavior = service(scaling={"behavior": {"scaleDown": {"stabilizationWindow": window}}}).spec.scaling.behavior
    assert behavior.forecast_window_seconds + behavior.plan_window_seconds == behavior.scale_down_window_seconds
    assert 0 <= behavior.forecast_window_seconds <= 300


def test_without_a_scale_down_window_the_plan_is_as_with_seven_minutes() -> None:
    unset = service().spec.scaling.behavior
    seven = service(scaling={"behavior": {"scaleDown": {"stabilizationWindow": "7m"}}}).spec.scaling.behavior
    assert unset.forecast_window_seconds == seven.forecast_window_seconds
    assert unset.plan_window_seconds == seven.plan_window_seconds


def test_every_problem_is_named_with_its_field() -> None:
    with pytest.raises(SpecError) as caught:
        service(scaling={"minReplicas": 0}, qoe={"objective": {"window": "4w"}})
    assert [path for path, _ in caught.value.problems] == ["spec.qoe.objective.window", "spec.scaling.minReplicas"]


def test_a_resource_without_a_spec_is_refused() -> None:
    with pytest.raises(SpecError, match="spec: is missing"):
        LLMService.parse({"metadata": {"name": "chat"}})


def test_a_field_of_a_newer_version_is_ignored() -> None:
    assert service(future={"x": 1}) == service()


def test_an_unreadable_status_counts_as_none() -> None:
    raw = {"metadata": {"name": "chat"}, "spec": {"model": {"id": "a"}}, "status": {"conditions": "broken"}}
    assert LLMService.parse(raw).status == LLMServiceStatus()


def test_an_unknown_figure_is_absent_from_the_status() -> None:
    status = LLMServiceStatus(ready_replicas=0, qoe=QoEStatus(state="NoTraffic"))
    assert status.to_wire() == {"readyReplicas": 0, "qoe": {"state": "NoTraffic"}, "conditions": []}


def test_figures_are_rounded_for_people_and_memory_is_not() -> None:
    raw = {"qoe": {"mean": 0.123456789}, "scaling": {"memory": {"version": 1, "state": {"x": 0.123456789}}}}
    wire = LLMServiceStatus.model_validate(raw).to_wire()
    assert wire["qoe"]["mean"] == 0.1235
    assert wire["scaling"]["memory"]["state"]["x"] == 0.123456789


def test_a_status_reads_back_as_it_was_written() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    raw = {
        "qoe": {"mean": 0.9, "observedAt": at},
        "conditions": [
            {"type": "Ready", "status": "True", "reason": "Serving", "message": "", "lastTransitionTime": at},
        ],
        "scaling": {"decisions": [{"at": at, "from": 1, "to": 2, "reason": "Deficit"}]},
    }
    status = LLMServiceStatus.model_validate(raw)
    assert LLMServiceStatus.model_validate(status.to_wire()) == status
