"""Makes the rival's objects: stock vLLM in the same engines, and a HorizontalPodAutoscaler that is as good as it gets.

Pure. Every choice that is open is in the rival's favour: vLLM's best flags, the same starts and drains as ours, two
metrics (the queue, and requests in flight before there is a queue), figures that are read at the pods when the
autoscaler asks, growth at once, and our own wait before it shrinks.
"""

from __future__ import annotations

import base64
import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from andante.api.v1alpha1 import LLMService
from hack.demo import external_metrics
from hack.demo.external_metrics import GROUP, IN_FLIGHT, VERSION, WAITING

Manifest = dict[str, Any]

API_SERVICE = f"{VERSION}.{GROUP}"
LABEL = {"app.kubernetes.io/part-of": "andante-demo"}
"""On every object of the rival: what the demo may replace and remove."""
ADAPTER = "andante-demo-metrics"
WATERMARK = 0.02
"""The share of the KV cache that vLLM's best flag for readers keeps free (docs/reference/scheduler-benchmarks.md)."""
_PORT = 10250
"""Control planes of hosted clusters often reach pods at this port alone, the usual one of metrics servers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """What the autoscaler aims at, for each replica."""

    waiting: float = 2.0
    """Requests in the queue."""
    in_flight: float = 32.0
    """Requests that wait or run."""


def rival_name(service: Mapping[str, Any]) -> str:
    """Name of the rival's LLMService beside `service`."""
    return f"{service['metadata']['name']}-stock"


def stock_service(service: Mapping[str, Any]) -> Manifest:
    """`service` under vLLM's own scheduling, with replicas that `spec.replicas` sets."""
    made: Manifest = copy.deepcopy(dict(service))
    made["metadata"] = {"name": rival_name(service), "labels": dict(LABEL)}
    made.pop("status", None)
    spec, ours = made["spec"], LLMService.parse(service).spec.scaling
    engine = spec.setdefault("engine", {})
    engine["scheduler"] = {"policy": "fcfs"}
    flags = engine.get("extraArgs") or []
    engine["extraArgs"] = [
        *flags,
        *([] if any(flag.startswith("--watermark") for flag in flags) else [f"--watermark={WATERMARK}"]),
    ]
    spec["scaling"] = {"mode": "Manual", "minReplicas": ours.min_replicas, "maxReplicas": ours.resolved_max_replicas}
    spec["replicas"] = ours.min_replicas
    return made


def autoscaler(service: Mapping[str, Any], targets: Targets) -> Manifest:
    """The HorizontalPodAutoscaler of the stock service beside `service`: our bounds, our wait to shrink."""
    ours = LLMService.parse(service).spec.scaling
    name = rival_name(service)

    def external(metric: str, target: float) -> Manifest:
        value = {"type": "AverageValue", "averageValue": f"{round(1000 * target)}m"}
        return {"type": "External", "external": {"metric": {"name": metric}, "target": value}}

    at_once = [{"type": "Pods", "value": ours.resolved_max_replicas, "periodSeconds": 1}]
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "labels": dict(LABEL)},
        "spec": {
            "scaleTargetRef": {"apiVersion": service["apiVersion"], "kind": "LLMService", "name": name},
            "minReplicas": ours.min_replicas,
            "maxReplicas": ours.resolved_max_replicas,
            "metrics": [external(WAITING, targets.waiting), external(IN_FLIGHT, targets.in_flight)],
            "behavior": {
                "scaleUp": {"stabilizationWindowSeconds": 0, "policies": at_once},
                "scaleDown": {
                    "stabilizationWindowSeconds": round(ours.behavior.scale_down_window_seconds),
                    "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
                },
            },
        },
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterImage:
    """The operator's image, and how this cluster gets it."""

    image: str
    pull_policy: str
    pull_secrets: tuple[Mapping[str, str], ...] = ()

    @classmethod
    def of(cls, operator: Mapping[str, Any]) -> AdapterImage:
        """From the operator's Deployment."""
        pod = operator["spec"]["template"]["spec"]
        (container,) = (each for each in pod["containers"] if each["name"] == "operator")
        return cls(
            image=container["image"],
            pull_policy=container.get("imagePullPolicy", "IfNotPresent"),
            pull_secrets=tuple(pod.get("imagePullSecrets") or ()),
        )


def adapter(*, namespace: str, service: str, image: AdapterImage, certificate: str, key: str) -> list[Manifest]:
    """The metrics adapter for the pods of the Service `service`, without its APIService. `certificate`, `key`: PEM.

    Its one right is to list the endpoints of its namespace.
    """

    def named(kind: str, api: str = "v1", **body: Any) -> Manifest:
        metadata = {"name": ADAPTER, "namespace": namespace, "labels": dict(LABEL)}
        return {"apiVersion": api, "kind": kind, "metadata": metadata, **body}

    rbac = "rbac.authorization.k8s.io"
    selector = {"app.kubernetes.io/name": ADAPTER}
    container = {
        "name": "adapter",
        "image": image.image,
        "imagePullPolicy": image.pull_policy,
        "command": [
            "python", "/adapter/external_metrics.py", f"--namespace={namespace}", f"--service={service}",
            f"--port={_PORT}", "--tls=/tls",
        ],
        "ports": [{"name": "https", "containerPort": _PORT}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": "https", "scheme": "HTTPS"}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "adapter", "mountPath": "/adapter", "readOnly": True},
            {"name": "tls", "mountPath": "/tls", "readOnly": True},
        ],
    }  # fmt: skip
    pod = {
        "serviceAccountName": ADAPTER,
        "enableServiceLinks": False,
        "imagePullSecrets": [dict(secret) for secret in image.pull_secrets],
        "terminationGracePeriodSeconds": 1,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [
            {"name": "adapter", "configMap": {"name": ADAPTER}},
            {"name": "tls", "secret": {"secretName": ADAPTER, "defaultMode": 0o440}},
        ],
    }
    script = Path(external_metrics.__file__).read_text(encoding="utf-8")
    rules = [{"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list"]}]
    subject = {"kind": "ServiceAccount", "name": ADAPTER, "namespace": namespace}
    # Another script or certificate is another pod: the script reads both once.
    content = {"andante.dev/content": hashlib.sha256(f"{script}{certificate}".encode()).hexdigest()}
    template = {"metadata": {"labels": {**LABEL, **selector}, "annotations": content}, "spec": pod}
    return [
        named("ServiceAccount"),
        named("Role", f"{rbac}/v1", rules=rules),
        named(
            "RoleBinding",
            f"{rbac}/v1",
            roleRef={"apiGroup": rbac, "kind": "Role", "name": ADAPTER},
            subjects=[subject],
        ),
        named("ConfigMap", data={"external_metrics.py": script}),
        named("Secret", type="kubernetes.io/tls", stringData={"tls.crt": certificate, "tls.key": key}),
        named("Service", spec={"selector": selector, "ports": [{"port": 443, "targetPort": "https"}]}),
        named(
            "Deployment",
            "apps/v1",
            spec={"replicas": 1, "selector": {"matchLabels": selector}, "template": template},
        ),
    ]


def api_service(*, namespace: str, certificate: str) -> Manifest:
    """The APIService that sends `external.metrics.k8s.io` to the adapter, which has this `certificate` (PEM)."""
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": API_SERVICE, "labels": dict(LABEL)},
        "spec": {
            "group": GROUP,
            "version": VERSION,
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "service": {"name": ADAPTER, "namespace": namespace, "port": 443},
            "caBundle": base64.b64encode(certificate.encode()).decode(),
        },
    }


def is_foreign(found: Mapping[str, Any]) -> bool:
    """Whether an APIService belongs to a metrics adapter that is not the demo's."""
    labels = found.get("metadata", {}).get("labels") or {}
    return not LABEL.items() <= labels.items()
