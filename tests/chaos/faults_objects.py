"""Defines faults of the cluster's objects: people, tools and tenants delete, edit and forge them."""

from __future__ import annotations

import random
import time

from andante.app.children import APPLIED, SERVICE_LABEL
from andante.app.kinds import DEPLOYMENT, ObjectKind
from chaos.faults import Fault, Reach
from chaos.services import DOOMED, Part, Service
from chaos.stage import MONITOR_CRD, SERVICE_CRD, Stage

EDITS = {
    "Service": {"spec": {"selector": {"app": "another"}}},
    "ConfigMap": {"data": {"engine.yaml": "edited: true"}},
    "PodDisruptionBudget": {"spec": {"maxUnavailable": 7}},
}
ALWAYS = tuple(kind for kind in APPLIED if kind.kind in (*EDITS, "ServiceAccount"))


def _victim(stage: Stage, chance: random.Random) -> Service:
    return chance.choice(stage.in_part(Part.VICTIM))


def _path(kind: ObjectKind, service: Service) -> str:
    (path,) = kind.paths([service.namespace])
    return f"{path}/{service.name}-engine" if kind.kind == "ConfigMap" else f"{path}/{service.name}"


def _delete_child(stage: Stage, chance: random.Random, seconds: float) -> None:
    stage.api.delete(_path(chance.choice(ALWAYS), _victim(stage, chance)))


def _delete_deployment(stage: Stage, chance: random.Random, seconds: float) -> None:
    stage.api.delete(_path(DEPLOYMENT, _victim(stage, chance)))


def _edit_child(stage: Stage, chance: random.Random, seconds: float) -> None:
    kind = chance.choice([kind for kind in ALWAYS if kind.kind in EDITS])
    stage.api.patch(_path(kind, _victim(stage, chance)), EDITS[kind.kind])


def _take_owner(stage: Stage, chance: random.Random, seconds: float) -> None:
    kind = chance.choice(ALWAYS)
    stage.api.patch(_path(kind, _victim(stage, chance)), {"metadata": {"ownerReferences": None}})


def _change_spec(stage: Stage, chance: random.Random, seconds: float) -> None:
    service = _victim(stage, chance)
    with stage.locks["services"]:
        service.model_len += 1
        stage.api.patch(service.path, {"spec": {"model": {"maxModelLen": service.model_len}}})


def _make_again(stage: Stage, chance: random.Random, seconds: float) -> None:
    """Delete a service, and create it again at once: it then has another uid."""
    service = _victim(stage, chance)
    with stage.locks["services"]:
        stage.api.delete(service.path)
        stage.make_service(service)


def _load(stage: Stage, chance: random.Random, seconds: float) -> None:
    service = _victim(stage, chance)
    stage.kubelet.put_load(service, busy=not service.busy)


def _forge(stage: Stage, chance: random.Random, seconds: float) -> None:
    """Create objects as a tenant could: with our label, large texts, and the names of other services."""
    service = _victim(stage, chance)
    path = f"/api/v1/namespaces/{service.namespace}/configmaps"
    names = [f"forged-{chance.randrange(10**9)}" for _ in range(10)]
    labels = {SERVICE_LABEL: chance.choice([service.name, "nobody", "x" * 63])}
    annotations = {"kopf.zalando.org/last-handled-configuration": "{", "andante.dev/applied-hash": "x" * 1000}
    for name in names:
        metadata = {"name": name, "labels": labels, "annotations": annotations}
        stage.api.make(path, {"metadata": metadata, "data": {"x": "y" * 200_000}})
    time.sleep(seconds)
    for name in names:
        stage.api.delete(f"{path}/{name}")


def _rights(stage: Stage, chance: random.Random, seconds: float) -> None:
    with stage.locks["namespace"]:
        stage.take_rights(DOOMED)
        time.sleep(seconds)
        stage.give_rights(DOOMED)


def _namespace(stage: Stage, chance: random.Random, seconds: float) -> None:
    with stage.locks["namespace"], stage.locks["services"]:
        stage.remove_namespace(DOOMED)
        time.sleep(seconds)
        stage.make_namespace(DOOMED)


def _service_crd(stage: Stage, chance: random.Random, seconds: float) -> None:
    with stage.locks["namespace"], stage.locks["crd"], stage.locks["services"]:
        stage.remove_crd(SERVICE_CRD)
        time.sleep(seconds)
        stage.make_service_crd()


def _monitor_crd(stage: Stage, chance: random.Random, seconds: float) -> None:
    with stage.locks["crd"]:
        stage.remove_crd(MONITOR_CRD)
        time.sleep(seconds)
        stage.make_monitor_crd()


FAULTS = (
    Fault(name="child deleted", reach=Reach.VICTIM, work=_delete_child, weight=3),
    Fault(name="Deployment deleted", reach=Reach.VICTIM, work=_delete_deployment),
    Fault(name="child edited", reach=Reach.VICTIM, work=_edit_child, weight=2),
    Fault(name="child loses its owner", reach=Reach.VICTIM, work=_take_owner, weight=2),
    Fault(name="spec changed", reach=Reach.VICTIM, work=_change_spec, weight=2),
    Fault(name="service made again", reach=Reach.VICTIM, work=_make_again, weight=2),
    Fault(name="load changed", reach=Reach.VICTIM, work=_load, weight=2),
    Fault(name="objects forged", reach=Reach.VICTIM, work=_forge),
    Fault(name="Role deleted", reach=Reach.VICTIM, work=_rights, weight=0.5, long=True),
    Fault(name="namespace deleted", reach=Reach.VICTIM, work=_namespace, weight=0.5, long=True),
    Fault(name="PodMonitor CRD deleted", reach=Reach.ALL, work=_monitor_crd, weight=0.5, long=True),
    Fault(name="LLMService CRD deleted", reach=Reach.ALL, work=_service_crd, weight=0.3, long=True),
)
