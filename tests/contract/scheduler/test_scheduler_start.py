"""When the policy schedules, when vLLM's own scheduling does, and how one sees which."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from benchmarks.scheduling.virtual_time import build_scheduler

from andante.domain.scheduling.qoe_policy import QoEPolicy
from andante_vllm.scheduler import QoEScheduler
from andante_vllm.scheduler_settings import SchedulerSettings
from andante_vllm.settings import ENGINE_CONFIG_VARIABLE, ConfigError


class WithPolicy(QoEScheduler):
    """Ours, with the policy `qoe`."""

    def load_settings(self) -> SchedulerSettings:
        return SchedulerSettings(policy=QoEPolicy(), policy_name="qoe", model_name="tiny")


def build(scheduler_class: type[QoEScheduler], **fields: Any) -> Any:
    return build_scheduler(
        scheduler_class, kv_blocks=32, block_size=16, max_num_seqs=4, max_num_batched_tokens=64, **fields
    )


def active(scheduler: Any) -> list[tuple[str, float]]:
    """Reason and value of `andante_scheduler_active`."""
    (family,) = scheduler._metrics.active.collect()
    return [(sample.labels["reason"], sample.value) for sample in family.samples]


def test_the_policy_schedules() -> None:
    assert active(build(WithPolicy)) == [("policy", 1.0)]


def test_without_a_config_vllm_schedules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENGINE_CONFIG_VARIABLE, raising=False)
    assert active(build(QoEScheduler)) == [("policy fcfs", 0.0)]


def test_an_untested_vllm_version_schedules_itself_and_says_so() -> None:
    class Newer(WithPolicy):
        vllm_version = "0.33.0"

    ((reason, value),) = active(build(Newer))
    assert value == 0.0
    assert "untested vLLM 0.33.0" in reason


def test_a_combination_that_cannot_work_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"scheduler\.policy: 'qoe' does not support --scheduling-policy priority"):
        build(WithPolicy, policy="priority")


def test_kv_offload_is_no_reason_not_to_schedule() -> None:
    assert active(build(WithPolicy, offloaded_blocks=100)) == [("policy", 1.0)]


@pytest.fixture
def engine_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Writes engine.yaml with a `scheduler` section and names it in the environment."""

    def write(**scheduler: Any) -> None:
        path = tmp_path / "engine.yaml"
        path.write_text(
            yaml.safe_dump({"model": {"id": "x", "source": "synthetic", "servedName": "tiny"}, "scheduler": scheduler})
        )
        monkeypatch.setenv(ENGINE_CONFIG_VARIABLE, str(path))

    return write


@pytest.mark.parametrize(("policy", "on"), [("qoe", 1.0), ("andes", 1.0), ("fcfs", 0.0)])
def test_engine_yaml_names_the_policy(engine_config: Callable[..., None], policy: str, on: float) -> None:
    engine_config(policy=policy)
    assert [value for _, value in active(build(QoEScheduler))] == [on]
