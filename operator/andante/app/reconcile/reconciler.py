"""Makes the cluster look like one service's spec: gather -> plan -> apply. Level-triggered: needs no memory of its own.

What is kept between two calls only saves work; an operator that starts afresh comes to the same end.
"""

from __future__ import annotations

import logging
from typing import Any

from andante.api.v1alpha1 import KIND, LLMService, LLMServiceStatus, SpecError
from andante.app.pods import Pods, sort_pods
from andante.app.reconcile.child_sync import ChildSync, SyncResult
from andante.app.scaling.judge import TickResult, foreign_replicas_owner, judge, present_replicas, remembered
from andante.app.scaling.measurement import nothing_measured
from andante.app.status.build import build_status, unreadable_status
from andante.app.status.conditions import Observation
from andante.app.status.crash_logs import CrashLogs
from andante.app.world import World, merge_patch
from andante.ports import Clock, Cluster, NotFoundError, Object, RefusedError, UnavailableError

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_STATUS_WRITES = 1.0
"""A service that starts changes several times within a second; each write costs every watcher a message."""
SECONDS_BETWEEN_TRIES = 30.0
"""After a problem that no watch will tell the end of: a refusal, a foreign object in the way."""


class Reconciler:
    """One reconcile at a time per service; the caller sees to that."""

    def __init__(self, *, cluster: Cluster, world: World, children: ChildSync, clock: Clock, window: float) -> None:
        self._cluster, self._world, self._children, self._clock = cluster, world, children, clock
        self._window = window
        self._crash_logs = CrashLogs(cluster)
        self._parsed: dict[tuple[str, str], tuple[str, LLMService]] = {}
        self._written: dict[tuple[str, str], float] = {}
        self.ticks: dict[tuple[str, str], TickResult] = {}

    def reconcile(self, namespace: str, name: str) -> float | None:
        """Converge one service; returns after how many seconds to come back although nothing happened, or None.

        Raises UnavailableError when the API server has to be asked again later.
        """
        obj = self._world.get(KIND, namespace, name)
        if obj is None or obj["metadata"].get("deletionTimestamp"):
            self._forget(namespace, name)
            return None
        try:
            service = self.parse(obj)
        except SpecError as error:
            logger.warning("%s/%s: the spec cannot be read: %s", namespace, name, error)
            return self._write_status(obj, unreadable_status(obj, str(error), now=self._clock.now()))
        pods = self.pods(service)
        synced = self._children.sync(service, replicas=self._replicas_to_apply(service))
        observation, tick = self._observe(service, pods, synced)
        status = build_status(observation, memory=tick.memory if tick else None, now=self._clock.now())
        delay = self._write_status(obj, status)
        if synced.problems and delay is None:
            leaving = any(p.reason == "WaitingForCleanup" for p in synced.problems)
            return SECONDS_BETWEEN_STATUS_WRITES if leaving else SECONDS_BETWEEN_TRIES
        return delay

    def parse(self, obj: Object) -> LLMService:
        """The service in an object, parsed once per version. Raises SpecError."""
        metadata = obj["metadata"]
        key, version = (metadata["namespace"], metadata["name"]), f"{metadata['uid']}/{metadata['resourceVersion']}"
        known = self._parsed.get(key)
        if known is None or known[0] != version:
            known = self._parsed[key] = (version, LLMService.parse(obj))
        return known[1]

    def pods(self, service: LLMService) -> Pods:
        """The service's pods, as watched."""
        return sort_pods(self._world.of_service("Pod", service.namespace, service.name))

    def deployment(self, service: LLMService) -> Object | None:
        """The service's Deployment, as watched."""
        return self._world.get("Deployment", service.namespace, service.name)

    def _replicas_to_apply(self, service: LLMService) -> int | None:
        """Replicas to say in the Deployment: the newest decision, or the last one that status remembers.

        None: nothing, as somebody else says it; then it is his, and reported.
        """
        scaling, live = service.spec.scaling, self.deployment(service)
        if scaling.mode != "Auto":
            return service.fixed_replicas
        if foreign_replicas_owner(live):
            return None
        tick = self.ticks.get((service.namespace, service.name))
        wanted = tick.decision.wanted if tick else present_replicas(service, live)
        return min(max(wanted, scaling.min_replicas), scaling.resolved_max_replicas)

    def _observe(self, service: LLMService, pods: Pods, synced: SyncResult) -> tuple[Observation, TickResult | None]:
        key, deployment = (service.namespace, service.name), self.deployment(service)
        tick = self.ticks.get(key)
        if tick is None and not pods.ready:
            # Nothing can be measured before a replica serves: no need to wait for a tick to say so.
            tick = self.ticks[key] = judge(
                service,
                deployment=deployment,
                pods=pods,
                measurement=nothing_measured("no replica is ready"),
                memory=remembered(service),
                window=self._window,
                now=self._clock.now(),
            )
        observation = Observation(
            service=service,
            pods=pods,
            deployment=deployment,
            wanted_replicas=present_replicas(service, deployment),
            spec_problem=synced.spec_problem,
            child_problems=synced.problems,
            crash_logs=self._crash_logs.of(pods),
            measurement=tick.measurement if tick else None,
            decision=tick.decision if tick else None,
        )
        return observation, tick

    def _write_status(self, obj: Object, status: LLMServiceStatus) -> float | None:
        """Write what changed; returns in how many seconds it may be written, where that was too soon."""
        key, now = (obj["metadata"]["namespace"], obj["metadata"]["name"]), self._clock.now()
        wanted = status.to_wire()
        live: dict[str, Any] = dict(obj.get("status") or {})
        patch = merge_patch(live, wanted)
        if not patch:
            return None
        since = now - self._written.setdefault(key, now)
        if 0 <= since < SECONDS_BETWEEN_STATUS_WRITES:
            return SECONDS_BETWEEN_STATUS_WRITES - since
        try:
            self._world.put(self._cluster.patch_status(namespace=key[0], name=key[1], status=patch))
        except NotFoundError:
            return None
        except RefusedError as error:
            logger.error("%s/%s: the status was refused: %s", *key, error)
            return SECONDS_BETWEEN_TRIES
        self._written[key] = now
        self._tell(obj, live, wanted)
        return None

    def _tell(self, obj: Object, live: dict[str, Any], wanted: dict[str, Any]) -> None:
        """Events on change only: a change of replicas, and conditions that turned."""
        before = (live.get("scaling") or {}).get("desired")
        scaling = wanted.get("scaling") or {}
        if before is not None and scaling.get("desired") not in (None, before):
            message = f"{before} -> {scaling['desired']} replicas: {scaling['decisions'][0]['message']}"
            self._emit(obj, "Normal", scaling["decisions"][0]["reason"], message)
        known = {c["type"]: c for c in live.get("conditions") or ()}
        for condition in wanted["conditions"]:
            old = known.get(condition["type"])
            if condition["status"] != "True":
                continue
            if condition["type"] == "Degraded" and (old is None or old["reason"] != condition["reason"]):
                self._emit(obj, "Warning", condition["reason"], condition["message"])
            if condition["type"] == "Ready" and (old is None or old["status"] != "True"):
                self._emit(obj, "Normal", "Ready", condition["message"])

    def _emit(self, obj: Object, kind: str, reason: str, message: str) -> None:
        try:
            self._cluster.emit(about=obj, kind=kind, reason=reason, message=message)
        except (NotFoundError, RefusedError, UnavailableError) as error:
            # The status says it too; an event is not worth a second reconcile.
            logger.info("event %s not written: %s", reason, error)

    def _forget(self, namespace: str, name: str) -> None:
        key = (namespace, name)
        self.ticks.pop(key, None)
        self._parsed.pop(key, None)
        self._written.pop(key, None)
        self._children.forget(namespace, name)
