"""Makes the ConfigMap with engine.yaml (a change rolls the pods) and qoe.yaml (a change reaches running engines)."""

from __future__ import annotations

import hashlib
import json
import math
from functools import lru_cache
from typing import Final

import yaml

from andante.api.v1alpha1 import LLMService
from andante.app.children.names import Manifest, RenderInput, engine_config_map_name, manifest
from andante.app.kinds import ObjectKind
from andante.engine_config import (
    ENGINE_CONFIG_FILE,
    QOE_SETTINGS_FILE,
    EngineConfig,
    HTTPConfig,
    ModelConfig,
    PreemptionConfig,
    SchedulerConfig,
    VirtualGPUConfig,
)

CONFIG_MAP: Final = ObjectKind(
    kind="ConfigMap",
    group="",
    version="v1",
    plural="configmaps",
    metadata_only=True,
    used_by_pods=True,
    purpose="The engine's settings.",
)
MODEL_MOUNT = "/models"
"""Mount path of a model that does not come from the hub."""


def engine_config(service: LLMService) -> EngineConfig:
    """engine.yaml of the service."""
    model, engine = service.spec.model, service.spec.engine
    source = model.source
    volume = source.pvc or source.image
    path = f"{MODEL_MOUNT}/{volume.path}".rstrip("/") if volume is not None else MODEL_MOUNT
    scheduler, virtual = engine.scheduler, engine.virtual_gpu
    kind = "hub" if source.hub is not None else "synthetic" if source.synthetic is not None else "path"
    return EngineConfig.model_validate(
        {
            "model": ModelConfig.model_validate(
                {
                    "id": path if kind == "path" else model.id,
                    "revision": model.revision,
                    "source": kind,
                    "served_name": service.served_name,
                    "max_model_len": model.max_model_len,
                }
            ),
            "tensor_parallel_size": engine.resolved_tensor_parallel_size,
            "shutdown_timeout_seconds": math.ceil(service.spec.rollout.drain_timeout),
            "hang_timeout_seconds": engine.hang_timeout,
            "scheduler": SchedulerConfig(
                policy=scheduler.policy,
                objective=scheduler.objective,
                preemption=PreemptionConfig(
                    enabled=scheduler.preemption.enabled,
                    max_per_request=scheduler.preemption.max_per_request,
                    margin=scheduler.preemption.margin,
                ),
                ageing_share=scheduler.ageing_share,
                kv_offload_gib=scheduler.kv_offload_gib,
            ),
            "http": HTTPConfig(
                connection_age_seconds=engine.http.connection_age,
                comment_after_silence_seconds=engine.http.comment_after_silence,
                max_body_mib=engine.http.max_body_mib,
                max_body_values=engine.http.max_body_values,
            ),
            "virtual_gpu": None if virtual is None else VirtualGPUConfig(**virtual.model_dump()),
            "extra_args": engine.extra_args,
        }
    )


def engine_yaml(service: LLMService) -> str:
    """engine.yaml as text."""
    return _yaml(engine_config(service).model_dump(mode="json", by_alias=True, exclude_none=True))


def qoe_yaml(service: LLMService) -> str:
    """qoe.yaml as text."""
    return _yaml(service.spec.qoe.to_settings().model_dump(mode="json", by_alias=True, exclude_none=True))


def engine_config_hash(service: LLMService) -> str:
    """Digest of engine.yaml. As it is an annotation of the pod template, a change of engine.yaml starts a rollout."""
    return hashlib.sha256(engine_yaml(service).encode()).hexdigest()[:16]


def config_map(given: RenderInput) -> Manifest:
    service = given.service
    return manifest(
        service,
        kind=CONFIG_MAP,
        name=engine_config_map_name(service),
        body={"data": {ENGINE_CONFIG_FILE: engine_yaml(service), QOE_SETTINGS_FILE: qoe_yaml(service)}},
    )


def _yaml(document: object) -> str:
    return _yaml_of(json.dumps(document))


@lru_cache(maxsize=1024)
def _yaml_of(document: str) -> str:
    """Turn JSON into YAML, and cache the result. Writing YAML is nine tenths of the cost to render a service's
    children, and the children are rendered several times while they are created.
    """
    return yaml.safe_dump(json.loads(document), sort_keys=False, width=120, allow_unicode=True)
