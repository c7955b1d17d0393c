"""Makes the `vllm serve` command line and its environment from engine.yaml. Pure, for tests and `--print-command`.

Code that changes the machine (folders, the synthetic model, the process itself) is in `andante_vllm.cli`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from andante.domain.step_time import Profile
from andante.engine_config import EngineConfig, VirtualGPUConfig
from andante_vllm.compat import ALL, Compatibility
from andante_vllm.settings import ENGINE_CONFIG_VARIABLE, ConfigError
from andante_vllm.virtual_start import METHOD_VARIABLE

SCHEDULER_CLASS: Final = "andante_vllm.scheduler.QoEScheduler"
METER_MIDDLEWARE: Final = "andante_vllm.middleware.DeliveryMeter"
HOST_KV_MODULE: Final = "andante_vllm.host_kv_cache"
HOST_KV_EVICTION: Final = "EndedFirst"
VIRTUAL_GPU_EXECUTOR: Final = "andante_vllm.virtual_gpu.VirtualGPUExecutor"
SYNTHETIC_MAX_MODEL_LEN: Final = 32_768
NEEDS_OWN_IMPORT: Final = ("--otlp-traces-endpoint", "--otlp_traces_endpoint", "--mm-tensor-ipc", "--mm_tensor_ipc")
"""Flags of vLLM with which the engine core must not be a copy of the API server: a copy would share its exporter of
traces, and vLLM refuses to share tensors with one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Folders:
    """The folders in which the engine may write."""

    cache: Path
    """Survives restarts if the pod has a volume: hub files, compiled kernels, the synthetic model."""
    metrics: Path
    """Metric files of this start; emptied at every start."""

    @property
    def home(self) -> Path:
        return self.cache / "home"

    @property
    def synthetic_model(self) -> Path:
        return self.cache / "models" / "synthetic"


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """The command to start."""

    arguments: tuple[str, ...]
    """Arguments of `vllm`, starting with `serve`."""
    environment: Mapping[str, str]
    """Variables to set; other variables stay as they are."""
    default_environment: Mapping[str, str]
    """Variables to set if the pod's own environment does not set them."""
    synthetic_max_model_len: int | None
    """Context length of the synthetic model, which must be made first; None for another model."""


def plan_launch(
    config: EngineConfig,
    *,
    config_path: Path,
    folders: Folders,
    profiles: Mapping[str, Profile],
    compatibility: Compatibility = ALL,
) -> Launch:
    """The command and environment for `config`, read from `config_path`.

    Parts that do not work with this vLLM, by `compatibility`, are left out.
    Raises ConfigError naming the field where the settings do not fit together.
    """
    synthetic = config.model.source == "synthetic"
    virtual = config.virtual_gpu
    profile = _profile(virtual, profiles)
    max_model_len = _max_model_len(config, profile)
    arguments = [
        "serve",
        str(folders.synthetic_model) if synthetic else config.model.id,
        *("--served-model-name", config.model.served_name),
        *("--host", config.host),
        *("--port", str(config.port)),
        *("--shutdown-timeout", str(config.shutdown_timeout_seconds)),
    ]
    if not compatibility.meter:
        arguments += ["--middleware", METER_MIDDLEWARE]
    if config.model.revision is not None:
        if config.model.source != "hub":
            raise ConfigError(f"model.revision: only a model of the hub has one, source is {config.model.source}")
        arguments += ["--revision", config.model.revision]
    if max_model_len is not None:
        arguments += ["--max-model-len", str(max_model_len)]
    if config.scheduler.policy != "fcfs" and not compatibility.scheduler:
        arguments += ["--scheduler-cls", SCHEDULER_CLASS]
    if config.scheduler.kv_offload_gib > 0:
        arguments += _kv_offload_arguments(config, ours=not compatibility.scheduler)
    if virtual is not None and profile is not None:
        arguments += _virtual_gpu_arguments(virtual, profile)
    else:
        arguments += ["--tensor-parallel-size", str(config.tensor_parallel_size)]
        if synthetic:
            arguments += ["--dtype", "float32", "--enforce-eager"]
    arguments += config.extra_args

    environment = {
        ENGINE_CONFIG_VARIABLE: str(config_path),
        "PROMETHEUS_MULTIPROC_DIR": str(folders.metrics),
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
    }
    if config.model.source != "hub":
        environment |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    if synthetic or virtual is not None:
        # Without a GPU, vLLM's third process would busy-wait on a shared-memory queue and take the API server's CPU.
        environment["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    defaults = {
        # Uid 65532 has no passwd entry: without USER, getpass fails inside torch.
        "HOME": str(folders.home),
        "USER": "andante",
        "XDG_CACHE_HOME": str(folders.cache),
        "HF_HOME": str(folders.cache / "huggingface"),
        "VLLM_CACHE_ROOT": str(folders.cache / "vllm"),
        "VLLM_CONFIG_ROOT": str(folders.cache / "vllm-config"),
        "TORCHINDUCTOR_CACHE_DIR": str(folders.cache / "torchinductor"),
        "TRITON_CACHE_DIR": str(folders.cache / "triton"),
        "FLASHINFER_WORKSPACE_BASE": str(folders.cache),
        "NUMBA_CACHE_DIR": str(folders.cache / "numba"),
        # Gateways keep idle connections for 60 s and more. If the server ended a connection sooner, a request could be
        # on its way, and a gateway must not repeat this request.
        "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": "75",
    }
    if virtual is not None:
        defaults["OMP_NUM_THREADS"] = "1"
        if not any(argument.startswith(NEEDS_OWN_IMPORT) for argument in config.extra_args):
            defaults[METHOD_VARIABLE] = "fork"
    if synthetic:
        defaults["VLLM_CPU_KVCACHE_SPACE"] = "1"
    return Launch(
        arguments=tuple(arguments),
        environment=MappingProxyType(environment),
        default_environment=MappingProxyType(defaults),
        synthetic_max_model_len=(max_model_len or SYNTHETIC_MAX_MODEL_LEN) if synthetic else None,
    )


def _profile(virtual: VirtualGPUConfig | None, profiles: Mapping[str, Profile]) -> Profile | None:
    if virtual is None:
        return None
    if virtual.profile not in profiles:
        raise ConfigError(f"virtualGpu.profile: no profile named {virtual.profile!r}; there are {sorted(profiles)}")
    return profiles[virtual.profile]


def _kv_capacity_tokens(virtual: VirtualGPUConfig, profile: Profile) -> int:
    tokens = virtual.kv_capacity_tokens or profile.kv_capacity_tokens
    return tokens // profile.block_size * profile.block_size


def _max_model_len(config: EngineConfig, profile: Profile | None) -> int | None:
    """The context length to ask for; None leaves it to vLLM and the model's own config."""
    wanted = config.model.max_model_len
    if config.virtual_gpu is None or profile is None:
        return wanted or (SYNTHETIC_MAX_MODEL_LEN if config.model.source == "synthetic" else None)
    capacity = _kv_capacity_tokens(config.virtual_gpu, profile)
    if wanted is None:
        return min(SYNTHETIC_MAX_MODEL_LEN, capacity) if config.model.source == "synthetic" else None
    if wanted > capacity:
        raise ConfigError(
            f"virtualGpu.kvCapacityTokens: {capacity} tokens in whole blocks, fewer than model.maxModelLen ({wanted})"
        )
    return wanted


def kv_transfer(host_bytes: int, *, ours: bool = True) -> dict[str, Any]:
    """vLLM's KV transfer configuration: keep the KV of prompts and answers in `host_bytes` of the host's memory.

    By default vLLM keeps only prompts, but a request that is preempted within its answer needs the answer's KV too.
    With `ours`, our policy chooses the KV that is dropped first (`andante_vllm.host_kv_cache`).
    """
    eviction = {"eviction_policy": HOST_KV_EVICTION, "cache_policy_module_path": HOST_KV_MODULE} if ours else {}
    return {
        "kv_connector": "OffloadingConnector",
        "kv_role": "kv_both",
        "kv_connector_extra_config": {"cpu_bytes_to_use": host_bytes, "offload_prompt_only": False, **eviction},
    }


def _kv_offload_arguments(config: EngineConfig, *, ours: bool) -> list[str]:
    """vLLM's own offload to host memory; not by `--kv-offloading-size`, which keeps only prompts."""
    if any(argument.replace("_", "-").startswith("--kv-transfer-config") for argument in config.extra_args):
        raise ConfigError("scheduler.kvOffloadGib: set it to 0, or leave --kv-transfer-config out of extraArgs")
    return ["--kv-transfer-config", json.dumps(kv_transfer(int(config.scheduler.kv_offload_gib * 2**30), ours=ours))]


def _virtual_gpu_arguments(virtual: VirtualGPUConfig, profile: Profile) -> list[str]:
    return [
        *("--distributed-executor-backend", VIRTUAL_GPU_EXECUTOR),
        *("--load-format", "dummy"),
        "--enforce-eager",
        *("--block-size", str(profile.block_size)),
        *("--max-num-seqs", str(virtual.max_num_seqs or profile.max_num_seqs)),
        *("--max-num-batched-tokens", str(virtual.max_num_batched_tokens or profile.max_num_batched_tokens)),
    ]
