"""Reads the service's status once a second: replicas, the operator's measurements and its reasons."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kubernetes import client

GROUP, VERSION, PLURAL = "andante.dev", "v1alpha1", "llmservices"


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


def to_sample(resource: dict[str, Any], *, at: float) -> Sample:
    status = resource.get("status", {})
    scaling, qoe = status.get("scaling", {}), status.get("qoe", {})
    return Sample(
        at=at,
        replicas=status.get("replicas", 0),
        ready=status.get("readyReplicas", 0),
        desired=scaling.get("desired"),
        reason=scaling.get("reason", ""),
        message=scaling.get("message", ""),
        mean_qoe=qoe.get("mean"),
        deficit=qoe.get("loadDeficit"),
        smooth_goodput=qoe.get("smoothGoodput"),
    )


class Watcher:
    """Polls one LLMService until cancelled. `samples` gets one more entry each second."""

    def __init__(self, *, name: str, namespace: str) -> None:
        self._name, self._namespace = name, namespace
        self._api = client.CustomObjectsApi()
        self.samples: list[Sample] = []

    def read(self) -> dict[str, Any]:
        found: dict[str, Any] = self._api.get_namespaced_custom_object(
            GROUP, VERSION, self._namespace, PLURAL, self._name
        )
        return found

    async def run(self, *, origin: float, on_sample: Callable[[Sample], None]) -> None:
        while True:
            resource = await asyncio.to_thread(self.read)
            sample = to_sample(resource, at=time.monotonic() - origin)
            self.samples.append(sample)
            on_sample(sample)
            await asyncio.sleep(1.0)
