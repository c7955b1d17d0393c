"""Lists all objects again: at the start, after a watch was cut off, and every `resync_seconds`.

Events report only changes during a watch. Only a list shows which objects were deleted while no watch was open.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from andante.app.children import KINDS
from andante.app.world import World
from andante.ports import Cluster, NotFoundError, RefusedError, UnavailableError
from andante.runtime.queue import FIRST_RETRY_SECONDS, ReconcileQueue

logger = logging.getLogger(__name__)

AFTER_LIST_SECONDS = 2.0
"""Wait after the last object of a watch's own list, so that our list is surely newer."""
LAST_RETRY_SECONDS = 5.0
"""Longest back-off after an outage. One list is cheap, and the first answered list ends the outage for us."""
REFUSED_RETRY_SECONDS = 30.0
"""Wait before a namespace that refused its lists is tried again. The namespace or its Role was deleted."""

_Place = tuple[str, str | None]
"""Kind and namespace; namespace None: all namespaces at once."""


class Relister:
    """Lists kinds into the world and queues the services whose objects changed."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        world: World,
        queue: ReconcileQueue,
        kinds: Sequence[str],
        namespaces: Sequence[str],
        resync_seconds: float,
        on_fault: Callable[[str], None] = lambda kind: None,
    ) -> None:
        self._cluster, self._world, self._queue, self._on_fault = cluster, world, queue, on_fault
        self._places: tuple[_Place, ...] = tuple((kind, name) for name in namespaces or (None,) for kind in kinds)
        self._resync_seconds = resync_seconds
        self._due: dict[_Place, float] = {}
        self._again: dict[_Place, float] = {}
        """When to list once more, for a watch that restarted while a list was due already."""
        self._failures = 0
        self._refused: dict[_Place, str] = {}
        self._unanswered = cluster.unanswered

    def list_was_seen(self, kind: str) -> None:
        """Note that a watch restarted with its own list. Call from the event loop."""
        at = asyncio.get_running_loop().time() + AFTER_LIST_SECONDS
        for place in self._places:
            if place[0] == kind:
                # A watch that restarts every second must not put the list off for ever: it comes, and again afterwards.
                self._due[place] = min(self._due.get(place, at), at)
                self._again[place] = at

    async def first(self) -> None:
        """List everything. Raises RefusedError where the operator may list a kind in none of its namespaces."""
        waiting = list(self._places)
        while waiting:
            listed = await self._list(waiting[0])
            if listed or waiting[0] in self._refused:
                place = waiting.pop(0)
                if not listed:
                    self._due[place] = asyncio.get_running_loop().time() + REFUSED_RETRY_SECONDS
            else:
                await asyncio.sleep(self._back_off())
        for kind in {kind for kind, _ in self._places}:
            refusals = [self._refused[place] for place in self._places if place[0] == kind and place in self._refused]
            if len(refusals) == sum(place[0] == kind for place in self._places):
                raise RefusedError(refusals[0])

    async def run(self) -> None:
        """List again when due, until cancelled. Raises RefusedError where a list of all namespaces is refused."""
        loop = asyncio.get_running_loop()
        everything = loop.time() + self._resync_seconds
        while True:
            await asyncio.sleep(0.5)
            now = loop.time()
            if now >= everything:
                everything = now + self._resync_seconds
                self._due |= dict.fromkeys(self._places, now)
            if self._cluster.unanswered != self._unanswered:
                # The API server was unreachable. A watch may be dead without an error, or may resume late.
                self._unanswered = self._cluster.unanswered
                self._due = dict.fromkeys(self._places, now + AFTER_LIST_SECONDS) | self._due
            for place in [p for p, at in self._due.items() if at <= now]:
                del self._due[place]
                if (again := self._again.pop(place, 0.0)) > now:
                    self._due[place] = again
                if await self._list(place):
                    continue
                if place in self._refused:
                    if place[1] is None:
                        raise RefusedError(self._refused[place])
                    self._due[place] = loop.time() + REFUSED_RETRY_SECONDS
                    continue
                again = loop.time() + self._back_off()
                self._due[place] = again
                if self._cluster.unanswered != self._unanswered:
                    # Still unreachable: no other list would be answered either.
                    self._due = {p: max(at, again) for p, at in self._due.items()}
                    break

    async def _list(self, place: _Place) -> bool:
        """List one place; return whether this worked. A refused place is noted in `_refused`."""
        kind, namespace = place
        try:
            news = await asyncio.to_thread(self._take_list, kind, namespace)
        except RefusedError as error:
            if place not in self._refused:
                logger.error("%s of %s may not be listed: %s", kind, namespace or "all namespaces", error)
            self._refused[place] = str(error)
            self._on_fault("list")
            return False
        except (UnavailableError, NotFoundError) as error:
            logger.warning("%s could not be listed: %s", kind, error)
            return False
        if self._refused.pop(place, None) is not None:
            logger.info("%s of %s may be listed again", kind, namespace)
        for key in news:
            self._queue.add(*key)
        self._failures = 0
        return True

    def _take_list(self, kind: str, namespace: str | None) -> set[tuple[str, str]]:
        """List into the world; return the services that changed. Runs in a thread: 10,000 pods would block the loop."""
        objects, version = self._cluster.list(kind, namespace=namespace)
        partial = KINDS[kind].metadata_only
        return self._world.replace(kind, objects, version=version, namespace=namespace, partial=partial)

    def _back_off(self) -> float:
        self._failures += 1
        return min(LAST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0 ** min(self._failures, 10))
