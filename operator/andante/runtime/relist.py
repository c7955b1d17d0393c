"""Looks at everything again: at the start, after a watch was cut off, and now and then.

Events tell of what happens while somebody listens; only a list tells of what was deleted meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from andante.app.world import World
from andante.ports import Cluster, NotFoundError, UnavailableError
from andante.runtime.queue import FIRST_RETRY_SECONDS, ReconcileQueue

logger = logging.getLogger(__name__)

SETTLE_SECONDS = 2.0
"""After the last object of a watch's own list; then ours is surely younger."""
LAST_RETRY_SECONDS = 5.0
"""One list is cheap, and the first that is answered ends the blindness after an outage."""


class Relister:
    """Lists kinds into the world and queues the services to which that was news."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        world: World,
        queue: ReconcileQueue,
        kinds: Sequence[str],
        namespaces: Sequence[str],
        resync_seconds: float,
    ) -> None:
        self._cluster, self._world, self._queue = cluster, world, queue
        self._kinds = tuple(kinds)
        self._namespaces: tuple[str | None, ...] = tuple(namespaces) or (None,)
        self._resync_seconds = resync_seconds
        self._due: dict[str, float] = {}
        self._failures = 0
        self._unanswered = cluster.unanswered

    def list_was_seen(self, kind: str) -> None:
        """A watch began anew with a list of its own. Call from the event loop."""
        self._due[kind] = asyncio.get_running_loop().time() + SETTLE_SECONDS

    async def first(self) -> None:
        """List everything. Raises RefusedError where the operator has no right to."""
        waiting = list(self._kinds)
        while waiting:
            if await self._list(waiting[0]):
                waiting.pop(0)
            else:
                await asyncio.sleep(self._back_off())

    async def run(self) -> None:
        """List again when due, until cancelled."""
        loop = asyncio.get_running_loop()
        everything = loop.time() + self._resync_seconds
        while True:
            await asyncio.sleep(0.5)
            now = loop.time()
            if now >= everything:
                everything = now + self._resync_seconds
                self._due |= dict.fromkeys(self._kinds, now)
            if self._cluster.unanswered != self._unanswered:
                # The API server was away. A watch may be dead without knowing it, or take up its work late.
                self._unanswered = self._cluster.unanswered
                self._due = dict.fromkeys(self._kinds, now + SETTLE_SECONDS) | self._due
            for kind in [k for k, at in self._due.items() if at <= now]:
                del self._due[kind]
                if await self._list(kind):
                    continue
                again = loop.time() + self._back_off()
                self._due[kind] = again
                if self._cluster.unanswered != self._unanswered:
                    # Still away: nothing else would be answered either.
                    self._due = {k: max(at, again) for k, at in self._due.items()}
                    break

    async def _list(self, kind: str) -> bool:
        for namespace in self._namespaces:
            try:
                objects, version = await asyncio.to_thread(self._cluster.list, kind, namespace=namespace)
            except (UnavailableError, NotFoundError) as error:
                logger.warning("%s could not be listed: %s", kind, error)
                return False
            for key in self._world.replace(kind, objects, version=version, namespace=namespace):
                self._queue.add(*key)
        self._failures = 0
        return True

    def _back_off(self) -> float:
        self._failures += 1
        return min(LAST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0 ** min(self._failures, 10))
