"""Owns the operator's state of each service: one `ServiceState` for each uid.

A service that is deleted and created again has another uid, so the new service inherits nothing. The state may be lost
at any time: after a restart the operator reaches the same result from the cluster and from the services' status.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from andante.api.v1alpha1 import KIND, LLMService, LLMServiceStatus, SpecError
from andante.app.kinds import DEPLOYMENT, POD
from andante.app.pods import Pods, is_replica_of, sort_pods
from andante.app.reconcile.child_plan import is_owned
from andante.app.reconcile.repairs import Repairs
from andante.app.rollout.turn import Turn
from andante.app.scaling.judge import KEPT_DECISIONS, MadeDecision, TickResult
from andante.app.status.alerts_loaded import AlertsVerdict
from andante.app.status.crash_logs import CrashLogs
from andante.app.world import World
from andante.ports import Object

logger = logging.getLogger(__name__)

_Name = tuple[str, str]
"""Namespace and name."""


@dataclass(slots=True, kw_only=True, eq=False)
class ServiceState:
    """The state of one service, from its creation to its deletion. Only one reconcile at a time changes it; the tick
    changes `decision`."""

    uid: str
    namespace: str
    name: str
    decision: TickResult | None = None
    """The newest decision with what it was made on; None until a tick after the operator's start."""
    told: TickResult | None = None
    """The newest decision that the tick has asked to report."""
    decided_at: float | None = None
    """When it was made, Unix time."""
    made: deque[MadeDecision] = field(default_factory=lambda: deque(maxlen=KEPT_DECISIONS))
    """The newest of this process, oldest first: a tick may decide again before a status told of the last one."""
    made_by_reason: Counter[str] = field(default_factory=Counter)
    """How many such decisions this process has made."""
    alerts: AlertsVerdict | None = None
    """Whether Prometheus evaluates its alerts; None: it was not asked yet, or there is none to ask."""
    status: LLMServiceStatus | None = None
    """The status of the newest reconcile, whether or not it is written already."""
    as_wanted: object | None = None
    """The state of the world in which every child was as wanted; None where no such state is known."""
    spellings: dict[tuple[str, str], str] = field(default_factory=dict)
    """By kind and name of a child: digest of the API server's answer to the manifest that was applied last."""
    namesake_since: float | None = None
    """Since when children of a deleted service of this name have been in the way, monotonic seconds; None: none are."""
    repairs: Repairs = field(default_factory=Repairs)
    turn: Turn = field(default_factory=Turn)
    crash_logs: CrashLogs = field(default_factory=CrashLogs)
    status_written: float | None = None
    """When the status was written last, monotonic seconds."""
    status_dropped: dict[str, Any] = field(default_factory=dict)
    """What the API server did not keep of the last write, as a merge patch: fields that an older CRD does not have."""
    faults: dict[str, str] = field(default_factory=dict)
    """By kind of work: the fault of its last round, which affected this service only."""
    _version: str = ""
    _parsed: LLMService | SpecError | None = None

    def service(self, obj: Object) -> LLMService:
        """The service parsed from `obj`, once for each version. Raises SpecError."""
        version = str(obj["metadata"].get("resourceVersion") or "")
        if self._parsed is None or not version or version != self._version:
            try:
                self._parsed = LLMService.parse(obj)
            except SpecError as error:
                self._parsed = error
            self._version = version
        if isinstance(self._parsed, SpecError):
            raise self._parsed
        return self._parsed

    def decide(self, result: TickResult, *, desired: int | None, at: float) -> None:
        """Take a new decision, made at `at` (Unix time). `desired`: what status says was wanted last, if anything."""
        previous = self.decision.decision.wanted if self.decision else desired
        if previous is not None and previous != result.decision.wanted:
            made = MadeDecision(at=at, previous=previous, decision=result.decision, inputs=result.inputs)
            self.made.append(made)
            self.made_by_reason[made.why.reason] += 1
            advice = f"advice only, as scaling.mode is {made.advice}: " if made.advice else ""
            logger.info(
                "%s/%s: %s%d -> %d replicas: %s: %s",
                *(self.namespace, self.name, advice, previous, result.decision.wanted),
                *(made.why.reason, made.why.message),
                extra={"namespace": self.namespace, "llmservice": self.name, "decision": made.told()},
            )
        self.decision, self.decided_at = result, at


class Fleet:
    """Holds the states of all services that are in the world. Safe to use from several threads."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._lock = threading.Lock()
        self._states: dict[_Name, ServiceState] = {}

    def __len__(self) -> int:
        return len(self._states)

    def find(self, namespace: str, name: str) -> tuple[Object, ServiceState] | None:
        """The existing service of this name with its state. Where there is none, forget its state and return None."""
        obj = self.world.get(KIND, namespace, name)
        with self._lock:
            if obj is None or obj["metadata"].get("deletionTimestamp"):
                self._states.pop((namespace, name), None)
                return None
            uid = str(obj["metadata"].get("uid") or "")
            state = self._states.get((namespace, name))
            if state is None or state.uid != uid:
                state = self._states[namespace, name] = ServiceState(uid=uid, namespace=namespace, name=name)
            return obj, state

    def all(self) -> list[tuple[Object, ServiceState]]:
        """All existing services with their states."""
        names = {(o["metadata"]["namespace"], o["metadata"]["name"]) for o in self.world.all(KIND)}
        with self._lock:  # reconciles find and forget services in other threads at the same time
            gone = self._states.keys() - names
        for name in gone:
            self.find(*name)
        return [found for name in sorted(names) if (found := self.find(*name)) is not None]

    def pods(self, state: ServiceState) -> Pods:
        """The service's pods, as watched: the pods of its Deployment, not all pods with its label."""
        labelled = self.world.of_service(POD.kind, state.namespace, state.name)
        return sort_pods(pod for pod in labelled if is_replica_of(pod, state.name))

    def deployment(self, state: ServiceState) -> Object | None:
        """The service's Deployment, as watched. None also where the Deployment of this name is not the service's."""
        found = self.world.get(DEPLOYMENT.kind, state.namespace, state.name)
        return found if found is not None and is_owned(found, state.uid) else None
