"""When the policy schedules, when vLLM's own scheduling does, and how one sees which."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from benchmarks.scheduling import virtual_time
from benchmarks.scheduling.virtual_time import build_scheduler
from benchmarks.scheduling.workload import LENGTHS, poisson_workload
from vllm.v1.outputs import ModelRunnerOutput

from andante.domain.scheduling.qoe_policy import QoEPolicy
from andante.domain.scheduling.qoe_settings import QoEPolicySettings
from andante.profiles import load_profiles
from andante_vllm import host_kv
from andante_vllm import scheduler as scheduler_module
from andante_vllm.launch import kv_transfer
from andante_vllm.scheduler import QoEScheduler
from andante_vllm.scheduler_settings import SchedulerSettings
from andante_vllm.settings import ENGINE_CONFIG_VARIABLE, ConfigError
from unit.scheduling_views import engine, requests

PROFILE = load_profiles()["llama-3-8b-1xh100"]


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


def test_without_a_policy_vllm_schedules_alone_and_its_steps_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENGINE_CONFIG_VARIABLE, raising=False)
    scheduler = build(QoEScheduler)
    scheduler._table = scheduler._books = None  # whatever asked them for anything would fail
    workload = poisson_workload(rate=4.0, duration=1.0, lengths=LENGTHS["chat"], seed=3)
    clock = virtual_time.VirtualClock()
    run = virtual_time.run_workload(workload, scheduler=scheduler, clock=clock, profile=PROFILE)
    assert run.steps > workload.output_tokens.max()
    assert not scheduler.requests
    counted = scheduler._metrics.registry.get_sample_value("andante_scheduler_steps_total", {"model_name": ""})
    assert counted == run.steps


def test_a_step_that_computes_nothing_is_no_sign_of_life() -> None:
    scheduler = build(WithPolicy)
    batch = scheduler.schedule()
    scheduler.update_from_output(batch, ModelRunnerOutput([], {}))
    assert batch.total_num_scheduled_tokens == 0
    counted = scheduler._metrics.registry.get_sample_value("andante_scheduler_steps_total", {"model_name": "tiny"})
    assert counted == 0


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


def test_the_scheduler_finds_what_the_hosts_memory_holds() -> None:
    assert host_kv.of(build(WithPolicy, offloaded_blocks=100).connector) is not None
    assert host_kv.of(build(WithPolicy).connector) is None


@pytest.mark.parametrize(("blocks", "warned"), [(30, True), (100, False)])
def test_a_host_memory_smaller_than_the_gpus_kv_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, blocks: int, warned: bool
) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(scheduler_module.logger, "warning", lambda text, *_: warnings.append(text))
    build(WithPolicy, offloaded_blocks=blocks)
    assert any("scheduler.kvOffloadGiB" in text for text in warnings) == warned


@pytest.mark.parametrize(("blocks", "taken_off"), [(40, [0]), (30, [])])
def test_a_host_memory_smaller_than_the_gpus_kv_makes_no_preemption_free(blocks: int, taken_off: list[int]) -> None:
    class WithHostMemory(WithPolicy):
        def load_settings(self) -> SchedulerSettings:
            return SchedulerSettings(policy=QoEPolicy(QoEPolicySettings(kv_offload=True)), policy_name="qoe")

    ahead = requests(
        2, running=[True, False], preemptions=[1.0, 0.0], context=[1500.0, 100.0], remaining=[2000.0, 20.0],
        delivered=[1400.0, 0.0], elapsed=[60.0, 0.5], kept=[1500.0, 0.0],
    )  # fmt: skip
    plan = build(WithHostMemory, offloaded_blocks=blocks)._policy.decide(ahead, engine(kv_capacity=1600, kv_free=64))
    assert plan is not None
    assert plan.preempt.tolist() == taken_off


def test_another_kv_connector_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def several(host_bytes: int) -> dict[str, Any]:
        return {
            "kv_connector": "MultiConnector",
            "kv_role": "kv_both",
            "kv_connector_extra_config": {"connectors": [kv_transfer(host_bytes)]},
        }

    monkeypatch.setattr(virtual_time, "kv_transfer", several)
    with pytest.raises(ConfigError, match="KV connector other than"):
        build(WithPolicy, offloaded_blocks=100)


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
