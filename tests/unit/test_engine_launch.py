"""From engine.yaml to the vLLM command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from andante.engine_config import EngineConfig
from andante.profiles import load_profiles
from andante_vllm.launch import Folders, Launch, plan_launch
from andante_vllm.settings import ConfigError

HUB = {"id": "meta-llama/Llama-3.1-8B-Instruct", "revision": "abc", "servedName": "chat", "maxModelLen": 8192}
SYNTHETIC = {"id": "tiny", "source": "synthetic", "servedName": "tiny"}
VIRTUAL = {"profile": "llama-3-8b-1xh100"}
FOLDERS = Folders(cache=Path("/cache"), metrics=Path("/scratch/metrics"))


def plan(**fields: Any) -> Launch:
    config = EngineConfig.model_validate(fields)
    return plan_launch(config, config_path=Path("/etc/engine.yaml"), folders=FOLDERS, profiles=load_profiles())


def flag(launch: Launch, name: str) -> str:
    return launch.arguments[launch.arguments.index(name) + 1]


def test_a_gpu_engine_serves_the_hubs_model_with_our_scheduler_and_meter() -> None:
    launch = plan(model=HUB, tensorParallelSize=2)
    assert launch.arguments[:2] == ("serve", "meta-llama/Llama-3.1-8B-Instruct")
    assert flag(launch, "--revision") == "abc"
    assert flag(launch, "--tensor-parallel-size") == "2"
    assert "--kv-transfer-config" not in launch.arguments
    assert flag(launch, "--scheduler-cls") == "andante_vllm.scheduler.QoEScheduler"
    assert flag(launch, "--middleware") == "andante_vllm.middleware.DeliveryMeter"
    assert "HF_HUB_OFFLINE" not in launch.environment
    assert "VLLM_ENABLE_V1_MULTIPROCESSING" not in launch.environment


def test_kv_offload_keeps_answers_as_well_as_prompts() -> None:
    transfer = json.loads(flag(plan(model=HUB, scheduler={"kvOffloadGib": 3}), "--kv-transfer-config"))
    assert transfer["kv_connector"] == "OffloadingConnector"
    assert transfer["kv_connector_extra_config"] == {
        "cpu_bytes_to_use": 3 * 2**30,
        "offload_prompt_only": False,
        "eviction_policy": "EndedFirst",
        "cache_policy_module_path": "andante_vllm.host_kv_cache",
    }


def test_fcfs_leaves_vllms_own_scheduler() -> None:
    assert "--scheduler-cls" not in plan(model=HUB, scheduler={"policy": "fcfs"}).arguments


def test_nobody_is_told_about_usage() -> None:
    assert plan(model=HUB).environment["VLLM_NO_USAGE_STATS"] == "1"


def test_idle_connections_are_kept_longer_than_gateways_keep_them() -> None:
    launch = plan(model=HUB)
    assert int(launch.default_environment["VLLM_HTTP_TIMEOUT_KEEP_ALIVE"]) > 60  # nginx's, Envoy's and others' default
    assert "VLLM_HTTP_TIMEOUT_KEEP_ALIVE" not in launch.environment  # whoever sets it in spec.engine.env has the word


def test_local_models_need_no_network() -> None:
    assert plan(model={**SYNTHETIC, "source": "path", "id": "/models/m"}).environment["HF_HUB_OFFLINE"] == "1"


def test_a_virtual_gpu_takes_the_profiles_sizes() -> None:
    launch = plan(model=SYNTHETIC, virtualGpu=VIRTUAL)
    assert flag(launch, "--distributed-executor-backend") == "andante_vllm.virtual_gpu.VirtualGPUExecutor"
    assert flag(launch, "--block-size") == "16"
    assert flag(launch, "--max-num-seqs") == "1024"
    assert flag(launch, "--load-format") == "dummy"
    assert launch.environment["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"


def test_only_a_virtual_gpus_engine_core_is_a_copy_of_the_api_server() -> None:
    method = "VLLM_WORKER_MULTIPROC_METHOD"
    assert plan(model=SYNTHETIC, virtualGpu=VIRTUAL).default_environment[method] == "fork"
    assert method not in plan(model=SYNTHETIC).default_environment
    traced = ["--otlp-traces-endpoint", "http://collector:4317"]
    assert method not in plan(model=SYNTHETIC, virtualGpu=VIRTUAL, extraArgs=traced).default_environment


def test_a_virtual_gpus_sizes_can_be_set() -> None:
    launch = plan(model=SYNTHETIC, virtualGpu={**VIRTUAL, "maxNumSeqs": 8, "maxNumBatchedTokens": 512})
    assert flag(launch, "--max-num-seqs") == "8"
    assert flag(launch, "--max-num-batched-tokens") == "512"


def test_a_synthetic_models_context_fits_a_small_kv_cache() -> None:
    launch = plan(model=SYNTHETIC, virtualGpu={**VIRTUAL, "kvCapacityTokens": 1000})
    assert flag(launch, "--max-model-len") == "992"  # whole blocks of 16
    assert launch.synthetic_max_model_len == 992


def test_a_users_flags_come_last() -> None:
    assert plan(model=HUB, extraArgs=["--enable-lora"]).arguments[-1] == "--enable-lora"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"model": SYNTHETIC, "virtualGpu": {"profile": "abacus"}}, "virtualGpu.profile"),
        (
            {"model": {**SYNTHETIC, "maxModelLen": 4096}, "virtualGpu": {**VIRTUAL, "kvCapacityTokens": 4095}},
            "virtualGpu.kvCapacityTokens",
        ),
        (
            {"model": HUB, "scheduler": {"kvOffloadGib": 1}, "extraArgs": ["--kv-transfer-config", "{}"]},
            "scheduler.kvOffloadGib",
        ),
        ({"model": {**SYNTHETIC, "revision": "main"}}, "model.revision"),
    ],
)
def test_what_does_not_fit_together_is_named(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        plan(**fields)
