"""Reads a service once a second: its status, its pods, and the HorizontalPodAutoscaler that scales it, if one does."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kubernetes import client
from kubernetes.utils.quantity import parse_quantity

from hack.demo.external_metrics import IN_FLIGHT, WAITING
from hack.demo.pod_lives import PodLives, PodSeen

GROUP, VERSION, PLURAL = "andante.dev", "v1alpha1", "llmservices"
_METRICS = {WAITING: "requests wait", IN_FLIGHT: "requests are in flight"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The service at one moment. Figures that the operator has not published yet are None, never 0."""

    at: float
    """Seconds since the replay began."""
    replicas: int
    ready: int
    desired: int | None
    reason: str
    message: str
    mean_qoe: float | None
    deficit: float | None
    smooth_goodput: float | None


def to_sample(resource: Mapping[str, Any], *, at: float, autoscaler: Mapping[str, Any] | None = None) -> Sample:
    """From the resource; with an `autoscaler`, this one says how many replicas are wanted, and why."""
    status = resource.get("status", {})
    scaling, qoe = status.get("scaling", {}), status.get("qoe", {})
    desired, reason, message = scaling.get("desired"), scaling.get("reason", ""), scaling.get("message", "")
    if autoscaler is not None:
        desired = (autoscaler.get("status") or {}).get("desiredReplicas")
        reason, message = "HorizontalPodAutoscaler", _said(autoscaler)
    return Sample(
        at=at,
        replicas=status.get("replicas", 0),
        ready=status.get("readyReplicas", 0),
        desired=desired,
        reason=reason,
        message=message,
        mean_qoe=qoe.get("mean"),
        deficit=qoe.get("loadDeficit"),
        smooth_goodput=qoe.get("smoothGoodput"),
    )


def _said(autoscaler: Mapping[str, Any]) -> str:
    """The autoscaler's metrics, each beside its target, for each replica."""
    targets = {
        metric["external"]["metric"]["name"]: metric["external"]["target"]["averageValue"]
        for metric in autoscaler["spec"]["metrics"]
        if metric["type"] == "External"
    }
    parts = []
    for metric in (autoscaler.get("status") or {}).get("currentMetrics") or []:
        name = metric.get("external", {}).get("metric", {}).get("name")
        value = metric.get("external", {}).get("current", {}).get("averageValue")
        if name in targets and value is not None:
            what = _METRICS.get(name, name)
            parts.append(f"{float(parse_quantity(value)):.1f} {what} (target {float(parse_quantity(targets[name])):g})")
    return f"for each replica, {' and '.join(parts)}" if parts else "no metric was read yet"


class Watcher:
    """Polls one LLMService until cancelled. `samples` gets one more entry each second, and `pods` follows its pods."""

    def __init__(self, *, name: str, namespace: str, autoscaler: str | None = None) -> None:
        """`autoscaler`: name of the HorizontalPodAutoscaler that decides in place of the operator."""
        self._name, self._namespace, self._autoscaler = name, namespace, autoscaler
        self._api = client.CustomObjectsApi()
        self._core, self._scaling = client.CoreV1Api(), client.AutoscalingV2Api()
        self.samples: list[Sample] = []
        self.pods = PodLives()

    def read(self) -> dict[str, Any]:
        found: dict[str, Any] = self._api.get_namespaced_custom_object(
            GROUP, VERSION, self._namespace, PLURAL, self._name
        )
        return found

    def read_autoscaler(self) -> dict[str, Any] | None:
        """The HorizontalPodAutoscaler as the API server shows it; None where the operator decides."""
        if self._autoscaler is None:
            return None
        answer = self._scaling.read_namespaced_horizontal_pod_autoscaler(
            self._autoscaler, self._namespace, _preload_content=False
        )
        found: dict[str, Any] = json.loads(answer.data)
        return found

    def read_pods(self, resource: Mapping[str, Any]) -> list[PodSeen]:
        """The pods of the service, those that drain included."""
        selector = resource.get("status", {}).get("selector")
        if not selector:
            return []
        answer = self._core.list_namespaced_pod(self._namespace, label_selector=selector, _preload_content=False)
        return [PodSeen.of(pod) for pod in json.loads(answer.data)["items"]]

    async def run(self, *, origin: float, on_sample: Callable[[Sample], None]) -> None:
        while True:
            resource, autoscaler, pods = await asyncio.to_thread(self._look)
            at = time.monotonic() - origin
            self.pods.look(pods, at=at)
            sample = to_sample(resource, at=at, autoscaler=autoscaler)
            self.samples.append(sample)
            on_sample(sample)
            await asyncio.sleep(1.0)

    def _look(self) -> tuple[dict[str, Any], dict[str, Any] | None, list[PodSeen]]:
        resource = self.read()
        return resource, self.read_autoscaler(), self.read_pods(resource)
