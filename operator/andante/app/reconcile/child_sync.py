"""Applies the children of one service. No other module writes children."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial

from andante.api.v1alpha1 import LLMService
from andante.app.children import APPLIED, FIELD_MANAGER, Manifest, PodTemplateError, pods_use, render
from andante.app.fleet import ServiceState
from andante.app.kinds import DEPLOYMENT
from andante.app.reconcile.child_plan import (
    Action,
    digest,
    is_abandoned,
    is_ours,
    is_owned,
    plan_child,
    said,
    was_applied,
    with_hash,
)
from andante.app.reconcile.look_again import look_again
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

CLEANUP_SECONDS = 60.0
"""Time for the garbage collector to remove the children of a deleted service of the same name. It takes seconds, or it
does not know of the deletion: where its watch was cut while the CRD was deleted, it removes the children only when it
starts anew."""

_Look = Problem | ConflictError | bool
"""The problem with a child; otherwise whether the watch showed the child as wanted, so that nothing was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncResult:
    """The problems with the children."""

    spec_problem: Problem | None = None
    problems: Sequence[Problem] = ()
    waits: Problem | None = None
    """Why new pods are not created yet although nothing is wrong: it is not this service's turn."""


class ChildSync:
    """Applies children. Remembers the world in which all children were as wanted, to skip rendering in that world."""

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
        """Make the children match the spec. Raises UnavailableError."""
        # Read the world before the first child: changes that arrive during the sync have not been looked at.
        world = self._as_seen(service, replicas)
        if state.as_wanted == world:
            return SyncResult()
        try:
            manifests = render(service, settings=self._settings, replicas=replicas, installed_crds=self._installed_crds)
        except PodTemplateError as error:
            # Running pods stay as they are; only their number follows the decision.
            key = (DEPLOYMENT.kind, service.namespace, service.name)
            resized = self._look(partial(self._resize, service, replicas), key)
            state.turn.end()
            state.namesake_since = None  # nobody looks at the children meanwhile
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
            if waits and self._old_pods_need(manifest, service):
                continue
            if waits and manifest["kind"] == DEPLOYMENT.kind:
                work = partial(self._resize, service, replicas)
            if manifest["kind"] == DEPLOYMENT.kind and not pods_may_start:
                # The pods would use a ServiceAccount or settings that do not belong to this service.
                work = partial(self._resize, service, replicas)
            look = self._look(work, key_of(manifest))
            looks.append(look)
            if isinstance(look, Problem) and look.reason in ("NameTaken", "WaitingForCleanup"):
                pods_may_start &= not pods_use(manifest, service)
        if not any(isinstance(look, Problem) and look.reason == "WaitingForCleanup" for look in looks):
            state.namesake_since = None
        pruned = self._prune(service, {key_of(m) for m in manifests})
        conflict = next((look for look in (*looks, *pruned) if isinstance(look, ConflictError)), None)
        if conflict:
            raise conflict  # the object changed since we read it: reconcile again
        if isinstance(looks[-1], bool) and pods_may_start and not waits:
            state.turn.end()  # the Deployment, which comes last, is as wanted
        if waits or pruned or not all(look is True for look in looks):
            # Also after a write: the world from before the write may come back, and it is not as wanted.
            state.as_wanted = None
        else:
            state.as_wanted = world
        return SyncResult(problems=[look for look in (*looks, *pruned) if isinstance(look, Problem)], waits=waits)

    def _waits(self, service: LLMService, state: ServiceState, wanted: Manifest) -> Problem | None:
        """Why the pods may not be replaced yet; None where they may be replaced, or need not be.

        A change by the service's author starts at once: it is one service, at a moment that a person chose. So does the
        change of a service that has never served: no stream can be lost, and the change may repair the service.
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

    def _old_pods_need(self, manifest: Manifest, service: LLMService) -> bool:
        """Whether the present version of this child differs from `manifest`, and new pods of the old template read it.

        A child that only another client changed does not differ: it is repaired.
        """
        live = self._world.get(*key_of(manifest))
        if live is None or not is_ours(live, service):
            return False
        return pods_use(manifest, service) and not was_applied(live, manifest)

    def _look(self, work: Callable[[], Problem | bool], key: Key) -> _Look:
        """Run `work` for the child `key`; return the API server's refusal as a problem, so that one refused child does
        not stop the others.

        Raises UnavailableError where the API server did not answer at all: it would not answer for the others either.
        """
        unanswered, what = self._cluster.unanswered, f"the {key[0]} {key[2]!r}"
        try:
            return work()
        except (RefusedError, NotFoundError) as error:
            return Problem(reason="ChildRefused", message=f"the API server refused {what}: {error}")
        except ConflictError as error:
            look_again(self._cluster, self._world, key)
            return error
        except UnavailableError as error:
            if self._cluster.unanswered != unanswered:
                raise
            return Problem(reason="ChildUnavailable", message=f"the API server could not handle {what}: {error}")

    def _resize(self, service: LLMService, replicas: int | None) -> Problem | bool:
        """Set only the replicas of the Deployment, where it exists and is ours."""
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
        """Apply one child; return its problem, or whether the watch showed it as wanted and nothing was written."""
        key = key_of(manifest)
        known = live = self._world.get(*key)
        if live is None or is_partial(live):
            # Our children are watched by label: an unknown object is new, or not ours. Of most kinds the watch shows
            # only the metadata.
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
            self._clean_up(service, state, live)
            message = f"the {key[0]} {key[2]!r} of the service's deleted namesake is still being removed"
            return Problem(reason="WaitingForCleanup", message=message)
        if action is Action.REPAIR and not state.repairs.may(key[0], key[2], now=self._clock.monotonic()):
            return self._contested(key)
        applied = self._cluster.apply(manifest)
        self._world.put(applied)
        state.spellings[key[0], key[2]] = digest(said(applied, manifest))
        return False

    def _clean_up(self, service: LLMService, state: ServiceState, live: Object | None) -> None:
        """Do the garbage collector's work where it has had its time and left the object."""
        now = self._clock.monotonic()
        if state.namesake_since is None:
            state.namesake_since = now
        overdue = now - state.namesake_since >= CLEANUP_SECONDS
        if overdue and live is not None and is_abandoned(live, service) and not _is_ending(live):
            logger.warning(
                "%s/%s: the garbage collector left %s %s of a deleted service of this name for %.0f s",
                *(service.namespace, service.name, live["kind"], live["metadata"]["name"], now - state.namesake_since),
            )
            self._delete(service, live, why="its owner is gone")

    def _contested(self, key: Key) -> Problem:
        # The world does not keep field managers: they are most of an object, and only this function needs them.
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
        """Delete children that this service owns and no longer wants; return one result for each.

        Only the owner reference counts: a label or annotation, which anybody can set, must not cause a deletion.
        """
        return [
            self._look(partial(self._delete, service, obj), key_of(obj))
            for kind in APPLIED
            for obj in self._world.of_service(kind.kind, service.namespace, service.name)
            if key_of(obj) not in wanted and is_owned(obj, service.metadata.uid)
        ]

    def _delete(self, service: LLMService, obj: Object, *, why: str = "no longer wanted") -> bool:
        kind, metadata = obj["kind"], obj["metadata"]
        self._cluster.delete(kind=kind, namespace=metadata["namespace"], name=metadata["name"], uid=metadata["uid"])
        logger.info("%s/%s: deleted %s %s, %s", service.namespace, service.name, kind, metadata["name"], why)
        return False


def _is_ending(live: Object) -> bool:
    return live["metadata"].get("deletionTimestamp") is not None
