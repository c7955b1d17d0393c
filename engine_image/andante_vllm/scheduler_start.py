"""Checks once, when the engine starts, whether the policy can run, and with which host memory."""

from __future__ import annotations

from typing import Any

from vllm.distributed.kv_transfer.kv_connector.v1.offloading_connector import OffloadingConnector
from vllm.logger import init_logger
from vllm.v1.core.sched.request_queue import SchedulingPolicy as QueuePolicy

from andante.domain.scheduling.qoe_policy import QoEPolicy
from andante.domain.scheduling.view import SchedulingPolicy
from andante_vllm import host_kv_cache
from andante_vllm.await_compilation import WAITED_SECONDS
from andante_vllm.compat import untested
from andante_vllm.scheduler_settings import SchedulerSettings
from andante_vllm.settings import ConfigError

logger = init_logger("vllm.andante.scheduler")  # loggers outside the vllm tree print nothing


def why_not(scheduler: Any, settings: SchedulerSettings) -> str:
    """Why vLLM's own scheduling runs instead of the policy; empty where the policy runs. `scheduler`: vLLM's, complete.

    Raises ConfigError for a combination of settings that a person chose and must change.
    """
    if settings.policy is None:
        return "policy fcfs"
    reason = untested(scheduler.vllm_version)
    if reason:
        return reason
    unsupported = {
        "pipeline parallelism": scheduler.use_pp,
        "a diffusion model": scheduler.vllm_config.model_config.is_diffusion,
        "a pooling model": scheduler.vllm_config.model_config.runner_type == "pooling",
        "an encoder-decoder model": scheduler.is_encoder_decoder,
        "--scheduling-policy priority": scheduler.policy is not QueuePolicy.FCFS,
        # vLLM's own offload is a cache: it neither waits for another engine nor sends to one.
        "a KV connector other than vLLM's OffloadingConnector": (
            scheduler.connector is not None and not isinstance(scheduler.connector, OffloadingConnector)
        ),
    }
    for what, present in unsupported.items():
        if present:
            raise ConfigError(
                f"scheduler.policy: {settings.policy_name!r} does not support {what}; "
                "leave that out, or set scheduler.policy to 'fcfs'"
            )
    return ""


def announce(settings: SchedulerSettings, reason: str) -> None:
    """Log whether the configured policy schedules; `reason`: why not, or empty."""
    if settings.policy is None:
        return
    level = logger.warning if reason else logger.info
    waited = f", {WAITED_SECONDS:.1f} s waited for its compilation" if WAITED_SECONDS >= 0.1 else ""
    level("QoE scheduling (%s): %s%s", settings.policy_name, f"OFF, {reason}" if reason else "on", waited)


def policy_for(policy: SchedulingPolicy, *, host_chunks: int, gpu_blocks: int) -> SchedulingPolicy:
    """`policy`, or a policy that ignores the host memory where it is too small; the log says so."""
    warning = host_kv_cache.too_small(host_chunks, gpu_blocks)
    if not warning:
        return policy
    logger.warning(warning)
    return policy.without_host_memory() if isinstance(policy, QoEPolicy) else policy
