"""Makes the cluster look like one service's spec: gather -> plan -> apply. Level-triggered."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from typing import Any

from andante.api.v1alpha1 import KIND, LLMService, SpecError
from andante.app.children import SERVICE_LABEL, Manifest, PodTemplateError, render
from andante.app.conditions import Observation, Problem
from andante.app.measurement import Measurement
from andante.app.pods import Pods, sort_pods
from andante.app.settings import OperatorSettings
from andante.app.status import build_status
from andante.app.world import World, contains, key_of, merge_patch
from andante.domain.scaling.decide import Decision
from andante.domain.scaling.memory import Memory
from andante.ports import Clock, Cluster, NotFoundError, Object, RefusedError

logger = logging.getLogger(__name__)

CHILD_KINDS = ("ServiceAccount", "ConfigMap", "Service", "PodDisruptionBudget", "NetworkPolicy", "Deployment")
LOG_LINES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class TickResult:
    """What the newest scaling tick found for one service."""

    measurement: Measurement
    decision: Decision
    memory: Memory


class Reconciler:
    """One reconcile at a time per service; the caller sees to that."""

    def __init__(self, *, cluster: Cluster, world: World, settings: OperatorSettings, clock: Clock) -> None:
        self._cluster, self._world, self._settings, self._clock = cluster, world, settings, clock
        self._applied: dict[tuple[str, str, str], tuple[str, str]] = {}
        self._crash_logs: dict[tuple[str, str, int], str] = {}
        self.ticks: dict[tuple[str, str], TickResult] = {}

    def reconcile(self, namespace: str, name: str) -> None:
        """Converge one service. Raises UnavailableError when the API server has to be asked again later."""
        obj = self._world.get(KIND, namespace, name)
        if obj is None or obj["metadata"].get("deletionTimestamp"):
            self.ticks.pop((namespace, name), None)
            return
        try:
            service = LLMService.parse(obj)
        except SpecError as error:
            logger.warning("%s/%s: the spec cannot be read: %s", namespace, name, error)
            return
        pods = self.pods(service)
        wanted = self.wanted_replicas(service)
        spec_problem, problems = self._apply_children(service, wanted)
        tick = self.ticks.get((namespace, name))
        observation = Observation(
            service=service,
            pods=pods,
            deployment=self._world.get("Deployment", namespace, name),
            wanted_replicas=wanted,
            spec_problem=spec_problem,
            child_problems=problems,
            crash_logs=self._logs_of_crashed(pods),
            measurement=tick.measurement if tick else None,
            decision=tick.decision if tick else None,
        )
        self._write_status(obj, observation, memory=tick.memory if tick else None)

    def pods(self, service: LLMService) -> Pods:
        """The service's pods, as watched."""
        return sort_pods(self._world.all("Pod", namespace=service.namespace, labels={SERVICE_LABEL: service.name}))

    def wanted_replicas(self, service: LLMService) -> int:
        """Replicas to ask of the Deployment: the newest decision, or the last one that status remembers."""
        scaling = service.spec.scaling
        if scaling.mode != "Auto":
            return service.fixed_replicas
        live = self._world.get("Deployment", service.namespace, service.name)
        if live is not None and foreign_replicas_owner(live):
            return int(live["spec"].get("replicas", 1))
        tick = self.ticks.get((service.namespace, service.name))
        remembered = service.status.scaling.desired if service.status.scaling else None
        chosen = tick.decision.wanted if tick else remembered
        low, high = scaling.min_replicas, scaling.resolved_max_replicas
        return min(max(low if chosen is None else chosen, low), high)

    def _apply_children(self, service: LLMService, wanted: int) -> tuple[Problem | None, list[Problem]]:
        try:
            manifests = render(service, settings=self._settings, replicas=wanted)
        except PodTemplateError as error:
            return Problem(reason="PodTemplateRefused", message=str(error)), []
        problems = []
        for manifest in manifests:
            try:
                problem = self._apply(service, manifest)
            except RefusedError as error:
                problem = Problem(reason="ChildRefused", message=f"{manifest['kind']}: {error}")
            if problem:
                problems.append(problem)
        self._prune(service, {key_of(m) for m in manifests})
        return None, problems

    def _apply(self, service: LLMService, manifest: Manifest) -> Problem | None:
        key = key_of(manifest)
        live = self._world.get(*key)
        digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
        if live is None:
            # Ours are watched by label: one that is not known is new, or somebody else's.
            try:
                live = self._cluster.read(kind=key[0], namespace=key[1], name=key[2])
            except NotFoundError:
                live = None
        if live is not None:
            if not _is_ours(live, service):
                return Problem(
                    reason="NameTaken",
                    message=f"a {key[0]} named {key[2]} exists and belongs to somebody else; rename one of the two",
                )
            version = live["metadata"]["resourceVersion"]
            if self._applied.get(key) == (digest, version):
                return None
            if contains(live, manifest):
                self._applied[key] = (digest, version)
                return None
        applied = self._cluster.apply(manifest)
        self._world.put(applied)
        self._applied[key] = (digest, applied["metadata"]["resourceVersion"])
        return None

    def _prune(self, service: LLMService, wanted: set[tuple[str, str, str]]) -> None:
        for kind in CHILD_KINDS:
            for obj in self._world.all(kind, namespace=service.namespace, labels={SERVICE_LABEL: service.name}):
                if key_of(obj) not in wanted and _is_ours(obj, service):
                    metadata = obj["metadata"]
                    self._cluster.delete(
                        kind=kind, namespace=metadata["namespace"], name=metadata["name"], uid=metadata["uid"]
                    )

    def _logs_of_crashed(self, pods: Pods) -> dict[str, str]:
        logs: dict[str, str] = {}
        for pod in pods.starting:
            for container in (pod.get("status") or {}).get("containerStatuses") or ():
                restarts = container.get("restartCount", 0)
                if not restarts:
                    continue
                name = pod["metadata"]["name"]
                key = (pod["metadata"]["uid"], container["name"], restarts)
                if key not in self._crash_logs:
                    self._crash_logs[key] = self._read_log(pod, container["name"])
                logs[name] = self._crash_logs[key]
        return logs

    def _read_log(self, pod: Object, container: str) -> str:
        metadata = pod["metadata"]
        try:
            return self._cluster.last_log_lines(
                namespace=metadata["namespace"], pod=metadata["name"], container=container, lines=LOG_LINES
            )
        except (NotFoundError, RefusedError):
            return ""

    def _write_status(self, obj: Object, observation: Observation, *, memory: Memory | None) -> None:
        service = observation.service
        wanted = build_status(observation, memory=memory, now=self._clock.now()).to_wire()
        live: dict[str, Any] = dict(obj.get("status") or {})
        patch = merge_patch(live, wanted)
        if not patch:
            return
        try:
            self._world.put(self._cluster.patch_status(namespace=service.namespace, name=service.name, status=patch))
        except NotFoundError:
            return
        self._tell(obj, live, wanted)

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
        except (NotFoundError, RefusedError) as error:
            logger.info("event %s not written: %s", reason, error)


def foreign_replicas_owner(deployment: Object) -> str | None:
    """The field manager other than us that owns the Deployment's replicas, if there is one."""
    for entry in deployment["metadata"].get("managedFields") or ():
        owns = "f:replicas" in ((entry.get("fieldsV1") or {}).get("f:spec") or {})
        if owns and entry.get("manager") != "andante":
            return str(entry.get("manager"))
    return None


def _is_ours(live: Object, service: LLMService) -> bool:
    owners = live["metadata"].get("ownerReferences") or ()
    return any(o.get("uid") == service.metadata.uid for o in owners)
