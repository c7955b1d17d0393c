"""The scheduler's metrics: what is noted each step is shown, soon in a stream of steps and at once before a pause."""

from __future__ import annotations

from andante_vllm.scheduler_metrics import SchedulerMetrics


def value(metrics: SchedulerMetrics, name: str) -> float | None:
    return metrics.registry.get_sample_value(f"andante_scheduler_{name}", {"model_name": "m"})


def test_a_stream_of_steps_is_shown_within_a_few_of_them() -> None:
    metrics = SchedulerMetrics(model_name="m", policy="qoe")
    for _ in range(100):
        metrics.decided(seconds=2e-4, kv_use=0.9)
        metrics.stepped(seconds=0.05)
    steps, decisions = value(metrics, "step_seconds_count"), value(metrics, "decision_seconds_count")
    assert steps is not None
    assert 90 <= steps <= 100
    assert decisions is not None
    assert 90 <= decisions <= 100
    assert value(metrics, "decisions_total") == decisions


def test_only_the_newest_reason_is_shown_as_true() -> None:
    metrics = SchedulerMetrics(model_name="m", policy="qoe")
    metrics.set_active(True, "policy")
    metrics.set_active(False, "policy failed: IndexError: 3")
    (family,) = metrics.active.collect()
    assert {sample.labels["reason"]: sample.value for sample in family.samples} == {
        "policy": 0.0,
        "policy failed: IndexError: 3": 0.0,
    }


def test_before_a_pause_all_of_it_is_shown() -> None:
    metrics = SchedulerMetrics(model_name="m", policy="qoe")
    for use in (0.9, 0.8, 0.7):
        metrics.decided(seconds=2e-4, kv_use=use)
        metrics.stepped(seconds=0.05)
    metrics.hand_over()
    assert value(metrics, "step_seconds_sum") == 0.05 + 0.05 + 0.05
    assert value(metrics, "decision_seconds_count") == 3
    assert value(metrics, "decisions_total") == 3
    assert value(metrics, "kv_use_ratio") == 0.7


def test_a_decision_in_which_nothing_was_short_counts_as_time_only() -> None:
    metrics = SchedulerMetrics(model_name="m", policy="qoe")
    metrics.decided(seconds=1e-5, kv_use=None)
    metrics.hand_over()
    assert value(metrics, "decision_seconds_count") == 1
    assert value(metrics, "decisions_total") == 0
