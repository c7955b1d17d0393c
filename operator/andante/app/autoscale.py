"""One scaling tick for all services: read every engine pod once, then decide for each service."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from andante.api.v1alpha1 import KIND, LLMService, SpecError
from andante.app.measurement import Measurements
from andante.app.pods import Pods
from andante.app.reconcile import Reconciler, TickResult, foreign_replicas_owner
from andante.app.world import World
from andante.domain.scaling.decide import decide
from andante.domain.scaling.memory import Memory
from andante.domain.scaling.snapshot import Mode, OnMetricsMissing, Replicas, ScalingRules, Snapshot
from andante.ports import Clock, Cluster, MetricsSource, NotFoundError, RefusedError

logger = logging.getLogger(__name__)

WINDOW_TICKS = 4
"""A window of the measures, in ticks: long enough to hold requests, short enough to answer a surge."""
STALE_TICKS = 3
"""Metrics older than this many ticks are stale."""
DEFAULT_DOWN_WINDOW_SECONDS = 300.0
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"


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
        self._window = WINDOW_TICKS * tick_seconds
        self._measurements = Measurements(window=self._window, stale_after=STALE_TICKS * tick_seconds)

    async def tick(self) -> list[tuple[str, str]]:
        """One tick; returns the services (namespace, name) whose result is new, for the caller to reconcile."""
        services = self._services()
        pods = {s.name + "/" + s.namespace: self._reconciler.pods(s) for s in services}
        addresses = [a for p in pods.values() for a in p.addresses()]
        read = await self._metrics.read(addresses)
        self._measurements.take(read)
        now = self._clock.now()
        for service in services:
            of_service = pods[service.name + "/" + service.namespace]
            key = (service.namespace, service.name)
            before = self._reconciler.ticks.get(key)
            measurement = self._measurements.measure(of_service.addresses(), read, now=now)
            snapshot = Snapshot(
                rules=scaling_rules(service, settle=self._window),
                replicas=self._replicas(service, of_service, now),
                deficit=measurement.deficit,
                open_requests=measurement.open_requests,
                smooth_goodput=measurement.smooth_goodput,
                pods_measured=measurement.pods_measured,
            )
            decision, memory = decide(snapshot, before.memory if before else _remembered(service), now)
            self._reconciler.ticks[key] = TickResult(measurement=measurement, decision=decision, memory=memory)
            if decision.replicas < snapshot.replicas.spec:
                await asyncio.to_thread(self._choose_victims, of_service, measurement.open_by_pod)
        return [(s.namespace, s.name) for s in services]

    def _services(self) -> list[LLMService]:
        found = []
        for obj in self._world.all(KIND):
            if obj["metadata"].get("deletionTimestamp"):
                continue
            try:
                found.append(LLMService.parse(obj))
            except SpecError:
                continue  # reconcile reports it
        return found

    def _replicas(self, service: LLMService, pods: Pods, now: float) -> Replicas:
        deployment = self._world.get("Deployment", service.namespace, service.name)
        spec = (deployment or {}).get("spec", {}).get("replicas")
        return Replicas(
            spec=self._reconciler.wanted_replicas(service) if spec is None else int(spec),
            ready=len(pods.ready),
            starting_ages=pods.starting_ages(now),
            draining=len(pods.draining),
            foreign_owner=foreign_replicas_owner(deployment) if deployment else None,
        )

    def _choose_victims(self, pods: Pods, open_by_pod: Mapping[str, float]) -> None:
        """The pod with the fewest readers goes first: least QoE is at risk."""
        for pod in pods.ready:
            metadata = pod["metadata"]
            cost = str(int(open_by_pod.get(metadata["name"], 0.0)))
            if (metadata.get("annotations") or {}).get(DELETION_COST) == cost:
                continue
            try:
                self._cluster.annotate_pod(
                    namespace=metadata["namespace"], name=metadata["name"], annotations={DELETION_COST: cost}
                )
            except (NotFoundError, RefusedError) as error:
                logger.warning("pod %s: deletion cost not set: %s", metadata["name"], error)


def scaling_rules(service: LLMService, *, settle: float) -> ScalingRules:
    """The user's limits in the law's terms."""
    scaling, objective = service.spec.scaling, service.spec.qoe.objective
    share = objective.good_fraction
    if scaling.target and scaling.target.mean_qoe is not None:
        share = scaling.target.mean_qoe
    elif scaling.target and scaling.target.good_fraction is not None:
        share = scaling.target.good_fraction
    up, down = scaling.behavior.scale_up, scaling.behavior.scale_down
    return ScalingRules(
        mode=Mode(scaling.mode),
        min_replicas=scaling.min_replicas,
        max_replicas=scaling.resolved_max_replicas,
        target_qoe=objective.qoe,
        # A share s of good requests leaves a mean deficit of at most (1 - s) · objective.
        tolerated_deficit=(1 - share) * objective.qoe,
        on_metrics_missing=OnMetricsMissing(scaling.on_metrics_missing),
        scale_up_window=up.stabilization_window or 0.0,
        scale_down_window=DEFAULT_DOWN_WINDOW_SECONDS
        if down.stabilization_window is None
        else down.stabilization_window,
        warmup_bound=service.spec.rollout.startup_timeout,
        settle=settle,
    )


def _remembered(service: LLMService) -> Memory:
    memory = service.status.scaling.memory if service.status.scaling else None
    return Memory.from_state(memory.version, memory.state) if memory else Memory()
