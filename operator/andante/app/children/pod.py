"""Makes the pod of one replica, before any podTemplate patch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from andante.api.v1alpha1 import LLMService
from andante.api.v1alpha1.pod_template import CONFIG_VOLUME, ENGINE_CONTAINER
from andante.app.children import engine_package
from andante.app.children.config_map import MODEL_MOUNT, engine_config_hash
from andante.app.children.names import (
    CONFIG_HASH_ANNOTATION,
    engine_config_map_name,
    labels,
    selector_labels,
)
from andante.app.settings import OperatorSettings
from andante.engine_config import ENGINE_CONFIG_FILE, ENGINE_PORT

CONFIG_MOUNT: Final = "/etc/andante"
CONFIG_FILE: Final = f"{CONFIG_MOUNT}/{ENGINE_CONFIG_FILE}"
CACHE_MOUNT: Final = "/var/cache/andante"
ENGINE_USER: Final = 65_532

ENDPOINT_REMOVAL_SECONDS: Final = 10
"""Duration of preStop: kube-proxies and gateways need this time to stop sending to a pod that is being deleted.

preStop first tells the server to close each connection after its reply, so clients with kept connections leave in time.
"""
EXIT_SECONDS: Final = 20
"""Time between the end of the drain and SIGKILL: the engine counts the requests that it cut, closes and exits."""
HUNG_GRACE_SECONDS: Final = 30
"""Time between SIGTERM and SIGKILL for an engine that fails its liveness probe."""
STARTUP_PERIOD_SECONDS: Final = 5

# A real engine loads weights through host memory. The virtual GPU's figures were measured (API server and engine core).
DEFAULT_MEMORY_GIB: Final = 4
DEFAULT_REQUESTS: Final[Mapping[str, str]] = {"cpu": "1", "memory": f"{DEFAULT_MEMORY_GIB}Gi"}
# Only an engine without weights gets a limit: a limit could kill an engine that loads weights.
VIRTUAL_GPU_LIMITS: Final[Mapping[str, str]] = {"memory": "4Gi"}
VIRTUAL_GPU_REQUESTS: Final[Mapping[str, str]] = {"cpu": "200m", "memory": "1536Mi"}

# A node is shared: these limits say how much of its disk and memory one pod may fill. Above a limit the pod is evicted.
TEMPORARY_SIZE: Final = "4Gi"
"""Metric files and uploads."""
CACHE_SIZE_WITHOUT_WEIGHTS: Final = "32Gi"
"""Compiled kernels."""
SHARED_MEMORY_GIB: Final = 16
"""For the traffic between the GPUs of one replica. KV cache that is offloaded to host memory is added."""


def termination_grace_period_seconds(service: LLMService) -> int:
    """Seconds for preStop, drain and exit, one after the other, so that SIGKILL never cuts a stream."""
    return ENDPOINT_REMOVAL_SECONDS + math.ceil(service.spec.rollout.drain_timeout) + EXIT_SECONDS


def pod_template(service: LLMService, *, settings: OperatorSettings) -> dict[str, Any]:
    """{metadata, spec} of the Deployment's pods."""
    engine = service.spec.engine
    copied = engine_package.is_copied(service, settings=settings)
    pull_secrets = dict.fromkeys([*(s.name for s in engine.image_pull_secrets), *settings.engine_image_pull_secrets])
    spec: dict[str, Any] = {
        "serviceAccountName": service.name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": termination_grace_period_seconds(service),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": ENGINE_USER,
            "runAsGroup": ENGINE_USER,
            "fsGroup": ENGINE_USER,
            # Without this, each start would change the owner of each file in a cache volume of hundreds of GiB.
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_engine_container(service, settings=settings, copied=copied)],
        "volumes": [*_volumes(service), *([engine_package.volume()] if copied else ())],
    }
    tolerations = [t.to_wire() for t in engine.tolerations]
    if engine.gpus_per_replica > 0:
        tolerations.insert(0, {"key": engine.resource_name, "operator": "Exists", "effect": "NoSchedule"})
    optional: dict[str, Any] = {
        "initContainers": [engine_package.init_container(settings=settings)] if copied else [],
        "tolerations": tolerations,
        "imagePullSecrets": [{"name": name} for name in pull_secrets],
        "nodeSelector": dict(engine.node_selector or {}),
        "affinity": dict(engine.affinity or {}),
        "runtimeClassName": engine.runtime_class_name,
        "priorityClassName": engine.priority_class_name,
        "topologySpreadConstraints": [] if engine.affinity else _spread(service),
    }
    spec |= {name: value for name, value in optional.items() if value}
    return {
        "metadata": {"labels": labels(service), "annotations": {CONFIG_HASH_ANNOTATION: engine_config_hash(service)}},
        "spec": spec,
    }


def _engine_container(service: LLMService, *, settings: OperatorSettings, copied: bool) -> dict[str, Any]:
    engine = service.spec.engine
    return {
        "name": ENGINE_CONTAINER,
        "image": engine.image or settings.engine_image,
        "imagePullPolicy": engine.image_pull_policy or settings.engine_image_pull_policy,
        "command": engine_package.command(copied=copied),
        "args": ["serve", "--config", CONFIG_FILE],
        "ports": [{"name": "http", "containerPort": ENGINE_PORT, "protocol": "TCP"}],
        **_env(service),
        "resources": _resources(service),
        "volumeMounts": [*_volume_mounts(service), *([engine_package.mount()] if copied else ())],
        "startupProbe": _probe(
            periodSeconds=STARTUP_PERIOD_SECONDS,
            failureThreshold=math.ceil(service.spec.rollout.startup_timeout / STARTUP_PERIOD_SECONDS),
        ),
        "readinessProbe": _probe(periodSeconds=5, failureThreshold=3),
        # The limit is high: a restart of an engine that is only busy would cut all its streams. An engine that fails it
        # hangs, so that no stream would end within the time for a drain.
        "livenessProbe": _probe(periodSeconds=10, failureThreshold=6, terminationGracePeriodSeconds=HUNG_GRACE_SECONDS),
        "lifecycle": {"preStop": {"exec": {"command": _drain_command(copied=copied)}}},
        # The engine's last lines become the container's termination message, which the conditions quote.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": engine_package.RESTRICTED,
    }


def _drain_command(*, copied: bool) -> list[str]:
    wait = ["--wait", str(ENDPOINT_REMOVAL_SECONDS)]
    return [*engine_package.command(copied=copied), "drain", "--config", CONFIG_FILE, *wait]


def _probe(**thresholds: int) -> dict[str, Any]:
    return {"httpGet": {"path": "/health", "port": "http"}, "timeoutSeconds": 5, **thresholds}


def _env(service: LLMService) -> dict[str, Any]:
    env: list[dict[str, Any]] = []
    token = service.spec.model.token_secret_ref
    if token is not None:
        env.append({"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": token.name, "key": token.key}}})
    env += [variable.to_wire() for variable in service.spec.engine.env]
    return {"env": env} if env else {}


def _resources(service: LLMService) -> dict[str, Any]:
    engine = service.spec.engine
    requests: dict[str, int | str] = dict(DEFAULT_REQUESTS if engine.virtual_gpu is None else VIRTUAL_GPU_REQUESTS)
    if engine.virtual_gpu is None and engine.scheduler.kv_offload_gib > 0:
        # vLLM takes offloaded KV from /dev/shm, which counts as memory of the pod.
        requests["memory"] = f"{math.ceil((DEFAULT_MEMORY_GIB + engine.scheduler.kv_offload_gib) * 1024)}Mi"
    limits: dict[str, int | str] = dict({} if engine.virtual_gpu is None else VIRTUAL_GPU_LIMITS)
    if engine.resources is not None:
        if engine.resources.requests:  # our limit could be below the request
            limits.clear()
        limits |= engine.resources.limits or {}
        # Kubernetes refuses requests above limits. Where the user sets only a limit, the limit is the request too.
        limited = engine.resources.limits or {}
        requests |= {name: value for name, value in limited.items() if name in requests}
        requests |= engine.resources.requests or {}
    if engine.gpus_per_replica > 0:
        limits[engine.resource_name] = engine.gpus_per_replica
        requests[engine.resource_name] = engine.gpus_per_replica
    return {
        kind: {name: str(value) for name, value in values.items()}
        for kind, values in (("requests", requests), ("limits", limits))
        if values
    }


def _volumes(service: LLMService) -> list[dict[str, Any]]:
    engine, source = service.spec.engine, service.spec.model.source
    volumes: list[dict[str, Any]] = [
        {"name": CONFIG_VOLUME, "configMap": {"name": engine_config_map_name(service)}},
        {"name": "tmp", "emptyDir": {"sizeLimit": TEMPORARY_SIZE}},
    ]
    if engine.cache.pvc is not None:
        volumes.append({"name": "cache", "persistentVolumeClaim": {"claimName": engine.cache.pvc.claim_name}})
    else:
        limit = engine.cache.empty_dir.size_limit if engine.cache.empty_dir is not None else None
        if limit is None and source.hub is None:  # weights from the hub have any size
            limit = CACHE_SIZE_WITHOUT_WEIGHTS
        volumes.append({"name": "cache", "emptyDir": {} if limit is None else {"sizeLimit": str(limit)}})
    if source.pvc is not None:
        claim = {"claimName": source.pvc.claim_name, "readOnly": True}
        volumes.append({"name": "model", "persistentVolumeClaim": claim})
    elif source.host_path is not None:
        volumes.append({"name": "model", "hostPath": {"path": source.host_path.path, "type": "Directory"}})
    elif source.image is not None:
        image = {"reference": source.image.reference, "pullPolicy": source.image.pull_policy}
        volumes.append({"name": "model", "image": image})
    if _needs_shared_memory(service):
        size = f"{SHARED_MEMORY_GIB + math.ceil(engine.scheduler.kv_offload_gib)}Gi"
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": size}})
    return volumes


def _volume_mounts(service: LLMService) -> list[dict[str, Any]]:
    mounts: list[dict[str, Any]] = [
        # Mount the whole folder: a single mounted file never shows a change of the ConfigMap.
        {"name": CONFIG_VOLUME, "mountPath": CONFIG_MOUNT, "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  the engine's own emptyDir
        {"name": "cache", "mountPath": CACHE_MOUNT},
    ]
    source = service.spec.model.source
    if source.pvc is not None or source.host_path is not None or source.image is not None:
        mounts.append({"name": "model", "mountPath": MODEL_MOUNT, "readOnly": True})
    if _needs_shared_memory(service):
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})  # noqa: S108
    return mounts


def _needs_shared_memory(service: LLMService) -> bool:
    """Whether the default 64 MiB of /dev/shm are too little: several GPUs per replica, or offloaded KV, need more."""
    engine = service.spec.engine
    return engine.resolved_tensor_parallel_size > 1 or engine.scheduler.kv_offload_gib > 0


def _spread(service: LLMService) -> list[dict[str, Any]]:
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": selector_labels(service)},
            "matchLabelKeys": ["pod-template-hash"],
        }
        for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
    ]
