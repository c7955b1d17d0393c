"""Makes the cluster match one service's spec: gather -> plan -> apply. Level-triggered: needs no memory of its own.

State that is kept between two calls only saves work: after a restart the operator reaches the same result without it.
"""

from __future__ import annotations

import logging
from typing import Any

from andante.api.v1alpha1 import LLMService, LLMServiceStatus, SpecError
from andante.app.fleet import Fleet, ServiceState
from andante.app.reconcile.child_sync import ChildSync, SyncResult
from andante.app.reconcile.look_again import look_again
from andante.app.reconcile.victim_marks import mark_victims
from andante.app.scaling.judge import (
    foreign_replicas_owner,
    judge,
    present_replicas,
    promise,
    remembered,
    remembered_ledger,
)
from andante.app.scaling.measurement import nothing_measured
from andante.app.status.alerts_loaded import NO_PROMETHEUS, NOT_READ_YET
from andante.app.status.build import build_status, unreadable_status
from andante.app.status.changes import Change, change
from andante.app.status.conditions import Observation
from andante.app.status.events import of_conditions, of_decisions
from andante.app.world import key_of, merge_patch, patched
from andante.ports import Clock, Cluster, ConflictError, NotFoundError, Object, RefusedError, UnavailableError

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_STATUS_WRITES = 1.0
"""A starting service changes several times within a second, and each write sends a message to every watcher."""
SECONDS_BETWEEN_TRIES = 30.0
"""Wait after a problem whose end no watch reports: a refusal, or an object of another owner with a child's name."""
SECONDS_UNTIL_KEPT = 900.0
"""After this time the API server is offered again what it did not keep: its CRD may be newer now."""
_SECONDS_BETWEEN_TRIES = {"WaitingForCleanup": SECONDS_BETWEEN_STATUS_WRITES, "ChildUnavailable": 5.0}
"""Shorter waits, after problems that end by themselves."""


class Reconciler:
    """Reconciles services. The caller must run only one reconcile at a time per service."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        fleet: Fleet,
        children: ChildSync,
        clock: Clock,
        window: float,
        has_prometheus: bool = False,
    ) -> None:
        """`has_prometheus`: whether there is one to ask which alerts it evaluates."""
        self._cluster, self._fleet, self._children, self._clock = cluster, fleet, children, clock
        self._window = window
        self._alerts_unknown = NOT_READ_YET if has_prometheus else NO_PROMETHEUS

    def reconcile(self, namespace: str, name: str) -> float | None:
        """Reconcile one service; return the seconds after which to reconcile again even without an event, or None.

        Raises UnavailableError when the caller must try again later.
        """
        found = self._fleet.find(namespace, name)
        if found is None:
            return None
        obj, state = found
        try:
            service = state.service(obj)
        except SpecError as error:
            logger.warning("%s/%s: the spec cannot be read: %s", namespace, name, error)
            state.turn.end()
            return self._write_status(obj, state, unreadable_status(obj, str(error), now=self._clock.now()))
        replicas = self._replicas_to_apply(service, state)
        mark_victims(
            self._cluster,
            self._fleet.pods(state),
            deployment=self._fleet.deployment(state),
            replicas=replicas,
            open_by_pod=state.decision.measurement.open_by_pod if state.decision else {},
        )
        synced = self._children.sync(service, state, replicas=replicas)
        observation = self._observe(service, state, synced)
        memory = state.decision.memory if state.decision else None
        delay = self._write_status(obj, state, build_status(observation, memory=memory, now=self._clock.now()))
        if synced.problems and delay is None:
            return min(_SECONDS_BETWEEN_TRIES.get(p.reason, SECONDS_BETWEEN_TRIES) for p in synced.problems)
        return delay

    def _replicas_to_apply(self, service: LLMService, state: ServiceState) -> int | None:
        """Replicas to write into the Deployment: the newest decision, or the last one in the status.

        None: write none, as another field manager sets the replicas; a condition reports this.
        """
        scaling, live = service.spec.scaling, self._fleet.deployment(state)
        if scaling.mode != "Auto":
            return service.fixed_replicas
        if foreign_replicas_owner(live):
            return None
        wanted = state.decision.decision.wanted if state.decision else present_replicas(service, live)
        return min(max(wanted, scaling.min_replicas), scaling.resolved_max_replicas)

    def _observe(self, service: LLMService, state: ServiceState, synced: SyncResult) -> Observation:
        pods, deployment = self._fleet.pods(state), self._fleet.deployment(state)
        if state.decision is None and not pods.ready:
            # Nothing can be measured before a replica serves: no need to wait for a tick to say so.
            now = self._clock.now()
            result = judge(
                service,
                deployment=deployment,
                pods=pods,
                measurement=nothing_measured("no replica is ready"),
                memory=remembered(service),
                ledger=remembered_ledger(service, now=now),
                window=self._window,
                now=now,
            )
            scaling = service.status.scaling
            state.decide(result, desired=scaling.desired if scaling else None, at=now)
        newest = state.decision
        return Observation(
            service=service,
            pods=pods,
            deployment=deployment,
            wanted_replicas=present_replicas(service, deployment),
            spec_problem=synced.spec_problem,
            child_problems=synced.problems,
            rollout_waits=synced.waits,
            crash_logs=state.crash_logs.of(pods, self._cluster, now=self._clock.monotonic()),
            measurement=newest.measurement if newest else None,
            decision=newest.decision if newest else None,
            made=tuple(state.made),
            budget=newest.ledger.spent(promise(service), now=self._clock.now()) if newest else None,
            ledger=newest.ledger if newest else None,
            alerts=state.alerts or self._alerts_unknown,
            faults=dict(state.faults),  # the tick, in another thread, notes them
        )

    def _write_status(self, obj: Object, state: ServiceState, status: LLMServiceStatus) -> float | None:
        """Write the changed fields; where it is too soon, return the seconds until the write is allowed.

        News is written at most once a second, figures at most once in a window of the measures. What the API server did
        not keep of the last write is no change.
        """
        state.status = status
        now = self._clock.monotonic()
        wanted = status.to_wire()
        live: dict[str, Any] = dict(obj.get("status") or {})
        recent = state.status_written is not None and now - state.status_written < SECONDS_UNTIL_KEPT
        much = change(patched(live, state.status_dropped) if recent else live, wanted)
        patch = merge_patch(live, wanted)
        if much is Change.NONE or not patch:
            return None
        if state.status_written is None:
            state.status_written = now
        since = now - state.status_written
        between = SECONDS_BETWEEN_STATUS_WRITES if much is Change.NEWS else self._window
        if since < between:
            return between - since
        try:
            answer = self._cluster.patch_status(obj, patch)
            self._fleet.world.put(answer)
        except NotFoundError:
            return None
        except ConflictError:
            look_again(self._cluster, self._fleet.world, key_of(obj))
            raise
        except RefusedError as error:
            logger.error("%s/%s: the status was refused: %s", state.namespace, state.name, error)
            return SECONDS_BETWEEN_TRIES
        state.status_written = now
        state.status_dropped = merge_patch(answer.get("status") or {}, wanted)
        self._tell(obj, live, wanted)
        return None

    def _tell(self, obj: Object, live: dict[str, Any], wanted: dict[str, Any]) -> None:
        """Write an Event for each decision and for each condition that turned."""
        turns = list(of_conditions(live, wanted))
        name = {"namespace": obj["metadata"]["namespace"], "llmservice": obj["metadata"]["name"]}
        for turn in turns:
            fields = {**name, "condition": turn.series, "reason": turn.reason}
            logger.info("%s/%s: %s: %s", *name.values(), turn.reason, turn.message, extra=fields)
        for event in (*of_decisions(live, wanted), *turns):
            try:
                self._cluster.emit(
                    about=obj, kind=event.kind, reason=event.reason, message=event.message, series=event.series
                )
            except (NotFoundError, RefusedError, UnavailableError) as error:
                # The status has the same content; an Event is not worth a second reconcile.
                logger.info("event %s not written: %s", event.reason, error)
