"""Checks that cluster and operators are as they should be soon after the last fault, and says what is missing."""

from __future__ import annotations

import json
import random
import time
from typing import Any

from andante.api.v1alpha1 import KIND
from andante.app.children import APPLIED, POD_MONITOR, SERVICE_LABEL
from andante.app.kinds import ObjectKind
from chaos.ledger import owner_uids
from chaos.memory import MemoryCheck
from chaos.operators import ChaosOperator
from chaos.services import NAMESPACES, Part, Service
from chaos.stage import Stage

SECONDS = 60.0
"""Time after the last fault in which everything must become as it should be."""
GARBAGE_SECONDS = 180.0
"""Time in which nothing may be left of a deleted service whose name is used again: the garbage collector has a minute,
then the operator removes it, and what it owned is removed in turn."""
LEFT_OVER = "is left over"
LONGEST_TICK_SILENCE = 10.0
CHILDREN = ("ServiceAccount", "ConfigMap", "ConfigMap", "Service", "PodDisruptionBudget", "Deployment")
"""Children of every service. There is also a PodMonitor if its CRD existed when the operator last looked."""
REPLICA_SET = ObjectKind(kind="ReplicaSet", group="apps", version="v1", plural="replicasets")
REPAIRED = ("Service", "PodDisruptionBudget")
"""Children that can be deleted without the loss of a pod."""


class Convergence:
    """Makes changes that only an operator with working watches sees, and waits until everything is as it should be."""

    def __init__(self, stage: Stage, chance: random.Random) -> None:
        self._stage, self._chance = stage, chance
        self._memory = MemoryCheck()

    def wait(self, *, seconds: float = SECONDS) -> float:
        """Return the seconds that it took. Anything that is still unfinished after `seconds` is a violation."""
        stage, began = self._stage, time.monotonic()
        until = began + GARBAGE_SECONDS
        self._ask()
        while True:
            lacks = self.unfinished()
            now = time.monotonic()
            if now < until and any(LEFT_OVER in lack for lack in lacks):
                began = now  # the names are free only then
            took = now - began
            if not lacks:
                break
            if took > seconds:
                tails = [f"{one.name}: {one.health()} {one.process.tail()}" for one in stage.operators.both]
                # What is missing comes last: of a long text, a report of many suites keeps the end.
                stage.wrong.append("\n  ".join([*tails, f"not as it should after {took:.0f} s:", *lacks]))
                break
            time.sleep(0.5)
        stage.ledger.judge()
        self._weigh()
        return took

    def _ask(self) -> None:
        """Change a spec and delete a child in each namespace: an operator with a dead watch would not see it."""
        for namespace in NAMESPACES:
            service = self._chance.choice(self._stage.in_part(Part.STEADY, Part.VICTIM, namespace=namespace))
            kind = self._chance.choice(REPAIRED)
            (path,) = next(k for k in APPLIED if k.kind == kind).paths([namespace])
            self._stage.api.delete(f"{path}/{service.name}")
            with self._stage.locks["services"]:
                service.model_len += 1
                self._stage.api.patch(service.path, {"spec": {"model": {"maxModelLen": service.model_len}}})

    def _weigh(self) -> None:
        leaders = self._stage.operators.leaders()
        for one in self._stage.operators.both:
            wrong = self._memory.weigh(pid=one.process.pid, leads=one in leaders, mib=one.resident_mib())
            if wrong:
                self._stage.wrong.append(f"{one.name} holds {wrong}")

    def unfinished(self) -> list[str]:
        """What is not as it should be; empty when everything is."""
        objects = [obj for kind in APPLIED for obj in self._list(kind)]
        replica_sets = self._list(REPLICA_SET)
        lacks = self._operators()
        for service in self._stage.services:
            lacking = self._service(service, objects, replica_sets)
            lacks += [f"{service.namespace}/{service.name}: {lack}" for lack in lacking]
        for path, version in self._stage.decoys.items():
            found = self._stage.api.get(path)
            if found is None or found["metadata"]["resourceVersion"] != version:
                lacks.append(f"{path}, which no service owns, was changed")
        return lacks

    def _list(self, kind: ObjectKind) -> list[dict[str, Any]]:
        (path,) = kind.paths([])
        found = [{**o, "kind": kind.kind} for o in self._stage.api.items(path)]
        return [o for o in found if o["metadata"]["namespace"] in NAMESPACES]

    def _operators(self) -> list[str]:
        leaders = self._stage.operators.leaders()
        if len(leaders) != 1:
            return [f"{len(leaders)} operators say that they are ready"]
        return [lack for one in self._stage.operators.both for lack in self._operator(one, leads=one in leaders)]

    def _operator(self, one: ChaosOperator, *, leads: bool) -> list[str]:
        status, words = one.health()
        if status != 200:
            return [f"{one.name} is not alive: {status} {words}"]
        silent = words["silentForSeconds"]
        assert isinstance(silent, dict)
        return [f"{one.name} does not tick: {words}"] if leads and silent["tick"] > LONGEST_TICK_SILENCE else []

    def _service(
        self, service: Service, objects: list[dict[str, Any]], replica_sets: list[dict[str, Any]]
    ) -> list[str]:
        obj = self._stage.api.get(service.path)
        if obj is None or obj["metadata"].get("deletionTimestamp"):
            return ["it is not there"]
        uid = obj["metadata"]["uid"]
        here = [o for o in objects if o["metadata"]["namespace"] == service.namespace]
        ours = [o for o in here if uid in owner_uids(o)]
        lacks = [f"{o['kind']} {o['metadata']['name']} {LEFT_OVER}" for o in here if _is_left_over(o, service, uid)]
        status = obj.get("status") or {}
        if status.get("observedGeneration") != obj["metadata"]["generation"]:
            lacks.append(f"status speaks of generation {status.get('observedGeneration')}")
        if service.part is Part.TAKEN:
            if any(o["kind"] in ("Deployment", "ServiceAccount") for o in ours):
                lacks.append("it runs as another's ServiceAccount")
            return lacks
        kinds = sorted(o["kind"] for o in ours if o["kind"] != POD_MONITOR.kind)
        if kinds != sorted(CHILDREN):
            return [*lacks, f"its children are {kinds}"]
        deployment = next(o for o in ours if o["kind"] == "Deployment")
        config = next(o for o in ours if o["kind"] == "ConfigMap" and o["metadata"]["name"].endswith("-engine"))
        # Pods of a deleted Deployment serve until the garbage collector has found them.
        owners = {o["metadata"]["uid"] for o in replica_sets if deployment["metadata"]["uid"] in _all_owner_uids(o)}
        pods = self._stage.kubelet.ready_by_owner(service)
        lacks += [f"a pod of a deleted Deployment {LEFT_OVER}" for _ in pods.keys() - owners]
        replicas = deployment["spec"]["replicas"]
        if replicas != service.replicas:
            told = (status.get("scaling") or {}).get("decisions", [{}])[:1]
            lacks.append(f"{replicas} replicas for {service.replicas}; {told}, {_conditions(status)}")
        elif service not in self._stage.lift and (ready := sum(pods[owner] for owner in owners)) != replicas:
            lacks.append(f"{ready} of {replicas} pods are ready")
        elif (status.get("readyReplicas"), (status.get("scaling") or {}).get("desired")) != (replicas, replicas):
            lacks.append(f"status does not tell of its {replicas} replicas")
        if str(service.model_len) not in json.dumps(config["data"]):
            lacks.append(f"its ConfigMap does not say {service.model_len}")
        return lacks


def _is_left_over(obj: dict[str, Any], service: Service, uid: str) -> bool:
    """Whether an object belongs to a deleted service of the same name."""
    owners = [o for o in obj["metadata"].get("ownerReferences") or () if o.get("kind") == KIND]
    named = any(o["name"] == service.name for o in owners)
    return named and uid not in owner_uids(obj) and SERVICE_LABEL in (obj["metadata"].get("labels") or {})


def _all_owner_uids(obj: dict[str, Any]) -> list[str]:
    return [o["uid"] for o in obj["metadata"].get("ownerReferences") or ()]


def _conditions(status: dict[str, Any]) -> list[str]:
    return [f"{c['type']}={c['status']} {c['reason']}: {c['message'][:160]}" for c in status.get("conditions") or ()]
