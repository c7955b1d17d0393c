"""Applies the children of one service: the only place that writes them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial

from andante.api.v1alpha1 import LLMService
from andante.app.children import APPLIED, FIELD_MANAGER, KINDS, Manifest, PodTemplateError, render
from andante.app.fleet import ServiceState
from andante.app.kinds import DEPLOYMENT
from andante.app.reconcile.child_plan import Action, digest, is_ours, is_owned, plan_child, said, with_hash
from andante.app.reconcile.repairs import MOST, WITHIN_SECONDS
from andante.app.rollout.marks import alters_pods, is_authors_change, with_marks
from andante.app.rollout.progress import has_served
from andante.app.settings import OperatorSettings
from andante.app.slim import is_partial
from andante.app.status.conditions import Problem
from andante.app.world import Key, World, key_of
from andante.ports import (
    Clock,
    Cluster,
    ConflictError,
    NotFoundError,
    Object,
    RefusedError,
    UnavailableError,
)

logger = logging.getLogger(__name__)

_Look = Problem | ConflictError | bool
"""What stands in the way of a child; else whether it was as wanted, by the watch, and nothing was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncResult:
    """What stands in the way of the children."""

    spec_problem: Problem | None = None
    problems: Sequence[Problem] = ()
    waits: Problem | None = None
    """Why new pods are not made yet although nothing is wrong: it is not this service's turn."""


class ChildSync:
    """Notes in the service's state in which world everything was as wanted: there nothing is rendered again."""

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
        self._clock = clock

    def sync(self, service: LLMService, state: ServiceState, *, replicas: int | None) -> SyncResult:
        """Make the children as the spec says. Raises UnavailableError."""
        # As it is before the look at each child: what comes in meanwhile has not been looked at.
        world = self._as_seen(service, replicas)
        if state.as_wanted == world:
            return SyncResult()
        try:
            manifests = render(service, settings=self._settings, replicas=replicas, installed_crds=self._installed_crds)
        except PodTemplateError as error:
            # Pods that run go on as they are, and as many of them as readers need.
            resized = self._look(partial(self._resize, service, replicas), "the Deployment")
            state.turn.end()
            return SyncResult(
                spec_problem=Problem(reason=error.reason, message=str(error)),
                problems=[resized] if isinstance(resized, Problem) else [],
            )
        looks: list[_Look] = []
        pods_may_start = True
        manifests = tuple(with_marks(m, service) if m["kind"] == DEPLOYMENT.kind else m for m in manifests)
        waits = self._waits(service, state, next(m for m in manifests if m["kind"] == DEPLOYMENT.kind))
        for manifest in map(with_hash, manifests):
            work = partial(self._sync_one, service, state, manifest)
            known = self._world.get(*key_of(manifest))
            if waits and KINDS[manifest["kind"]].used_by_pods and known is not None and is_ours(known, service):
                continue  # pods of the old template that start meanwhile need what the old operator wrote for them
            if waits and manifest["kind"] == DEPLOYMENT.kind:
                work = partial(self._resize, service, replicas)
            if manifest["kind"] == DEPLOYMENT.kind and not pods_may_start:
                # Its pods would run as somebody else's ServiceAccount, or with somebody else's settings.
                work = partial(self._resize, service, replicas)
            look = self._look(work, f"the {manifest['kind']} {manifest['metadata']['name']!r}")
            looks.append(look)
            if isinstance(look, Problem) and look.reason in ("NameTaken", "WaitingForCleanup"):
                pods_may_start &= not KINDS[manifest["kind"]].used_by_pods
        pruned = self._prune(service, {key_of(m) for m in manifests})
        conflict = next((look for look in (*looks, *pruned) if isinstance(look, ConflictError)), None)
        if conflict:
            raise conflict  # what it was about has changed meanwhile: look again
        if isinstance(looks[-1], bool) and pods_may_start and not waits:
            state.turn.end()  # the Deployment, which comes last, is as wanted
        if waits or pruned or not all(look is True for look in looks):
            # Also after a write: the world before it may come again, and then it is not as wanted.
            state.as_wanted = None
        else:
            state.as_wanted = world
        return SyncResult(problems=[look for look in (*looks, *pruned) if isinstance(look, Problem)], waits=waits)

    def _waits(self, service: LLMService, state: ServiceState, wanted: Manifest) -> Problem | None:
        """Why the pods may not be replaced yet; None where they may be, or need not be.

        What its author asks for begins at once: one service, at a moment that a person chose. A service that has never
        served has nothing to lose, and the change may be its cure.
        """
        turn, live = state.turn, self._world.get(DEPLOYMENT.kind, service.namespace, service.name)
        if live is None or not is_ours(live, service) or not alters_pods(live, wanted):
            return None
        if turn.granted_at is not None or not has_served(live) or is_authors_change(live, wanted, service):
            return None
        if turn.waiting_since is None:
            before = service.status.condition("RolledOut")
            waited = before is not None and before.reason == "RolloutWaiting"
            turn.waiting_since = before.last_transition_time.timestamp() if before and waited else self._clock.now()
        budget = self._settings.rollout_budget
        message = (
            "the operator or its chart makes other pods than these; they are replaced when it is this service's turn:"
            f" the chart value rolloutBudget ({budget}) says how many services replace their pods at once"
        )
        return Problem(reason="RolloutWaiting", message=message)

    def _look(self, work: Callable[[], Problem | bool], what: str) -> _Look:
        """`work`, or what the API server has against it: a child that cannot be had must not cost the others.

        Raises UnavailableError where nothing was answered at all: then the others would not be answered either.
        """
        unanswered = self._cluster.unanswered
        try:
            return work()
        except (RefusedError, NotFoundError) as error:
            return Problem(reason="ChildRefused", message=f"the API server refused {what}: {error}")
        except ConflictError as error:
            return error
        except UnavailableError as error:
            if self._cluster.unanswered != unanswered:
                raise
            return Problem(reason="ChildUnavailable", message=f"the API server could not handle {what}: {error}")

    def _resize(self, service: LLMService, replicas: int | None) -> Problem | bool:
        """Only the number of replicas of the Deployment, where there is one of ours."""
        live = self._world.get(DEPLOYMENT.kind, service.namespace, service.name)
        if live is None or not is_ours(live, service) or replicas in (None, live["spec"].get("replicas")):
            return True
        self._world.put(self._cluster.set_replicas(live, replicas))
        return False

    def _as_seen(self, service: LLMService, replicas: int | None) -> object:
        versions = tuple(
            (o["metadata"]["uid"], o["metadata"]["resourceVersion"])
            for kind in APPLIED
            for o in self._world.of_service(kind.kind, service.namespace, service.name)
        )
        return service.metadata.uid, service.metadata.generation, replicas, versions

    def _sync_one(self, service: LLMService, state: ServiceState, manifest: Manifest) -> Problem | bool:
        """What stands in the way; else whether it was as wanted, by the watch, and nothing was written."""
        key = key_of(manifest)
        known = live = self._world.get(*key)
        if live is None or is_partial(live):
            # Ours are watched by label: one that is not known is new, or somebody else's. Of most kinds the watch tells
            # only that one has changed.
            try:
                live = self._cluster.read(kind=key[0], namespace=key[1], name=key[2])
                self._world.put(live)
            except NotFoundError:
                live = None
        action = plan_child(live, manifest, service, spelling=state.spellings.get((key[0], key[2])))
        if action is Action.KEEP:
            return known is not None
        if action is Action.NAME_TAKEN:
            message = (
                f"a {key[0]} named {key[2]!r} exists in this namespace and is not of this service. Andante does not"
                " touch it; delete or rename it, or give the LLMService another name"
            )
            return Problem(reason="NameTaken", message=message)
        if action is Action.LEAVING:
            message = f"the {key[0]} {key[2]!r} of the service's deleted namesake is still being removed"
            return Problem(reason="WaitingForCleanup", message=message)
        if action is Action.REPAIR and not state.repairs.may(key[0], key[2], now=self._clock.monotonic()):
            return self._contested(key)
        applied = self._cluster.apply(manifest)
        self._world.put(applied)
        state.spellings[key[0], key[2]] = digest(said(applied, manifest))
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

    def _prune(self, service: LLMService, wanted: set[Key]) -> list[_Look]:
        """Deletes what this service owns and no longer wants; a look for each of them.

        By owner alone: marks that anybody can set must not make the operator delete for them.
        """
        return [
            self._look(partial(self._delete, service, obj), f"the {kind.kind} {obj['metadata']['name']!r}")
            for kind in APPLIED
            for obj in self._world.of_service(kind.kind, service.namespace, service.name)
            if key_of(obj) not in wanted and is_owned(obj, service.metadata.uid)
        ]

    def _delete(self, service: LLMService, obj: Object) -> bool:
        kind, metadata = obj["kind"], obj["metadata"]
        self._cluster.delete(kind=kind, namespace=metadata["namespace"], name=metadata["name"], uid=metadata["uid"])
        logger.info("%s/%s: deleted %s %s, no longer wanted", service.namespace, service.name, kind, metadata["name"])
        return False
