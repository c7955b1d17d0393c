"""One scaling tick for all services: read every engine pod once, then decide for each. Gather -> decide -> apply."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from andante.api.v1alpha1 import KIND, LLMService, SpecError
from andante.app.pods import Pods
from andante.app.reconcile.reconciler import Reconciler
from andante.app.scaling.judge import classes_without_qoe, judge, present_replicas, remembered
from andante.app.scaling.measurement import Measurement, Measurements
from andante.app.world import World
from andante.ports import (
    Clock,
    Cluster,
    MetricsSource,
    NotFoundError,
    PodAddress,
    PodSample,
    RefusedError,
    UnavailableError,
    Unread,
)

logger = logging.getLogger(__name__)

WINDOW_TICKS = 4
"""A window of the measures, in ticks: long enough to hold requests, short enough to answer a surge."""
STALE_TICKS = 3
"""Metrics older than this many ticks are stale."""
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
SERVICES_BETWEEN_PAUSES = 50
"""A tick over a thousand services must not keep the watches waiting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gathered:
    service: LLMService
    pods: Pods
    addresses: Sequence[PodAddress]


class Autoscaler:
    """Ticks over all services; keeps the pods' histories between ticks."""

    def __init__(
        self,
        *,
        world: World,
        cluster: Cluster,
        metrics: MetricsSource,
        reconciler: Reconciler,
        clock: Clock,
        tick_seconds: float,
    ) -> None:
        self._world, self._cluster, self._metrics = world, cluster, metrics
        self._reconciler, self._clock = reconciler, clock
        self._window = window_seconds(tick_seconds)
        self._measurements = Measurements(window=self._window, stale_after=STALE_TICKS * tick_seconds)

    async def tick(self) -> list[tuple[str, str]]:
        """One tick; returns the services (namespace, name) whose result is new, for the caller to reconcile."""
        gathered = await self._gather()
        read = await self._metrics.read([address for g in gathered for address in g.addresses])
        self._measurements.take(read)
        changed = []
        for number, one in enumerate(gathered):
            if number % SERVICES_BETWEEN_PAUSES == 0:
                await asyncio.sleep(0)
            if await self._decide(one, read):
                changed.append((one.service.namespace, one.service.name))
        return changed

    @property
    def services(self) -> int:
        """Number of services that the newest tick decided on."""
        return len(self._reconciler.ticks)

    async def _gather(self) -> list[_Gathered]:
        found = []
        for number, obj in enumerate(self._world.all(KIND)):
            if number % SERVICES_BETWEEN_PAUSES == 0:
                await asyncio.sleep(0)
            if obj["metadata"].get("deletionTimestamp"):
                continue
            try:
                service = self._reconciler.parse(obj)
            except SpecError:
                continue  # reconcile reports it
            pods = self._reconciler.pods(service)
            found.append(_Gathered(service=service, pods=pods, addresses=pods.addresses()))
        return found

    async def _decide(self, one: _Gathered, read: Mapping[tuple[str, str], PodSample | Unread]) -> bool:
        service, key, now = one.service, (one.service.namespace, one.service.name), self._clock.now()
        before = self._reconciler.ticks.get(key)
        measurement = self._measurements.measure(one.addresses, read, now=now, without_qoe=classes_without_qoe(service))
        deployment = self._reconciler.deployment(service)
        result = judge(
            service,
            deployment=deployment,
            pods=one.pods,
            measurement=measurement,
            memory=before.memory if before else remembered(service),
            window=self._window,
            now=now,
        )
        if result.decision.replicas < present_replicas(service, deployment):
            await asyncio.to_thread(self._choose_victims, one.pods, measurement)
        self._reconciler.ticks[key] = result
        return result != before

    def _choose_victims(self, pods: Pods, measurement: Measurement) -> None:
        """The pod with the fewest readers goes first: least QoE is at risk."""
        for pod in pods.ready:
            metadata = pod["metadata"]
            cost = str(int(measurement.open_by_pod.get(metadata["name"], 0.0)))
            if (metadata.get("annotations") or {}).get(DELETION_COST, "0") == cost:
                continue
            try:
                self._cluster.annotate_pod(
                    namespace=metadata["namespace"], name=metadata["name"], annotations={DELETION_COST: cost}
                )
            except (NotFoundError, RefusedError) as error:
                logger.warning("pod %s: deletion cost not set: %s", metadata["name"], error)
            except UnavailableError as error:
                # It would not answer for the next pod either, and the tick is not to wait for it.
                logger.warning("deletion costs of %s not set: %s", metadata["namespace"], error)
                return


def window_seconds(tick_seconds: float) -> float:
    """Length of the window over which the measures are taken."""
    return WINDOW_TICKS * tick_seconds
