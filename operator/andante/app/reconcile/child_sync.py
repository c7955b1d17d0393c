"""Applies the children of one service: the only place that writes them."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from andante.api.v1alpha1 import LLMService
from andante.app.children import FIELD_MANAGER, Manifest, PodTemplateError, render
from andante.app.kinds import APPLIED
from andante.app.reconcile.child_plan import Action, digest, is_ours, plan_child, said, with_hash
from andante.app.reconcile.repairs import MOST, WITHIN_SECONDS, Repairs
from andante.app.settings import OperatorSettings
from andante.app.status.conditions import Problem
from andante.app.world import Key, World, key_of
from andante.ports import Clock, Cluster, NotFoundError, RefusedError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncResult:
    """What stands in the way of the children."""

    spec_problem: Problem | None = None
    problems: Sequence[Problem] = ()


class ChildSync:
    """Remembers, per service, in what state of the world everything was as wanted: then nothing is rendered again."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        world: World,
        settings: OperatorSettings,
        clock: Clock,
        installed_crds: Collection[str] = (),
    ) -> None:
        self._cluster, self._world, self._settings = cluster, world, settings
        self._installed_crds = frozenset(installed_crds)
        self._repairs = Repairs(clock=clock)
        self._spellings: dict[Key, str] = {}
        self._settled: dict[tuple[str, str], object] = {}

    def sync(self, service: LLMService, *, replicas: int | None) -> SyncResult:
        """Make the children as the spec says. Raises UnavailableError."""
        key = (service.namespace, service.name)
        # As it is before the look at each child: what comes in meanwhile has not been looked at.
        state = self._state(service, replicas)
        if self._settled.get(key) == state:
            return SyncResult()
        try:
            manifests = render(service, settings=self._settings, replicas=replicas, installed_crds=self._installed_crds)
        except PodTemplateError as error:
            return SyncResult(spec_problem=Problem(reason="PodTemplateRefused", message=str(error)))
        looks = [self._sync_one(service, with_hash(m)) for m in manifests]
        problems = [look for look in looks if isinstance(look, Problem)]
        pruned = self._prune(service, {key_of(m) for m in manifests})
        if pruned or not all(look is True for look in looks):
            # Also after a write: the state before it may come again, and then it is not as wanted.
            self._settled.pop(key, None)
        else:
            self._settled[key] = state
        return SyncResult(problems=problems)

    def forget(self, namespace: str, name: str) -> None:
        """The service is gone."""
        self._settled.pop((namespace, name), None)
        for key in [k for k in self._spellings if k[1] == namespace and k[2].startswith(name)]:
            if self._world.get(*key) is None:
                self._spellings.pop(key, None)
                self._repairs.forget(key)

    def _state(self, service: LLMService, replicas: int | None) -> object:
        versions = tuple(
            (o["metadata"]["uid"], o["metadata"]["resourceVersion"])
            for kind in APPLIED
            for o in self._world.of_service(kind.kind, service.namespace, service.name)
        )
        return service.metadata.uid, service.metadata.generation, replicas, versions

    def _sync_one(self, service: LLMService, manifest: Manifest) -> Problem | bool:
        """What stands in the way; else whether it was as wanted, by the watch, and nothing was written."""
        key = key_of(manifest)
        known = live = self._world.get(*key)
        if live is None:
            # Ours are watched by label: one that is not known is new, or somebody else's.
            try:
                live = self._cluster.read(kind=key[0], namespace=key[1], name=key[2])
            except NotFoundError:
                live = None
        action = plan_child(live, manifest, service, spelling=self._spellings.get(key))
        if action is Action.KEEP:
            return known is not None
        if action is Action.NAME_TAKEN:
            message = (
                f"a {key[0]} named {key[2]!r} exists in this namespace and is not of this service. It stays untouched;"
                " delete or rename it, or give the LLMService another name"
            )
            return Problem(reason="NameTaken", message=message)
        if action is Action.LEAVING:
            message = f"the {key[0]} {key[2]!r} of the service's deleted namesake is still being removed"
            return Problem(reason="WaitingForCleanup", message=message)
        if action is Action.REPAIR and not self._repairs.may(key):
            return self._contested(key)
        try:
            applied = self._cluster.apply(manifest)
        except (RefusedError, NotFoundError) as error:
            return Problem(reason="ChildRefused", message=f"the API server refused the {key[0]} {key[2]!r}: {error}")
        self._world.put(applied)
        self._spellings[key] = digest(said(applied, manifest))
        return False

    def _contested(self, key: Key) -> Problem:
        # The world keeps no field managers: they are most of an object, and wanted only here.
        try:
            managers = self._cluster.read(kind=key[0], namespace=key[1], name=key[2])["metadata"].get("managedFields")
        except NotFoundError:
            managers = ()
        others = [
            (str(entry.get("time")), str(entry.get("manager")))
            for entry in managers or ()
            if entry.get("manager") != FIELD_MANAGER and not entry.get("subresource")
        ]
        who = f"{max(others)[1]!r}" if others else "another client"
        message = (
            f"{who} changes the {key[0]} {key[2]!r} again and again. Andante corrected it {MOST} times within"
            f" {WITHIN_SECONDS:.0f} s; stop that client, or write into the LLMService what is wanted"
        )
        return Problem(reason="ChildContested", message=message)

    def _prune(self, service: LLMService, wanted: set[Key]) -> bool:
        """Deletes what is ours and no longer wanted; whether there was any."""
        pruned = False
        for kind in APPLIED:
            for obj in self._world.of_service(kind.kind, service.namespace, service.name):
                if key_of(obj) in wanted or not is_ours(obj, service):
                    continue
                metadata = obj["metadata"]
                pruned = True
                self._cluster.delete(
                    kind=kind.kind, namespace=metadata["namespace"], name=metadata["name"], uid=metadata["uid"]
                )
                logger.info(
                    "%s/%s: deleted %s %s, no longer wanted",
                    service.namespace,
                    service.name,
                    kind.kind,
                    obj["metadata"]["name"],
                )
        return pruned
