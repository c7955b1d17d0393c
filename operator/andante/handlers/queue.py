"""Which services wait for a reconcile: each at most once, one worker at a time per service, retries with back-off."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from andante.ports import UnavailableError

logger = logging.getLogger(__name__)

Key = tuple[str, str]
"""Namespace and name of a service."""

FIRST_RETRY_SECONDS = 0.5
LAST_RETRY_SECONDS = 30.0
SETTLE_SECONDS = 0.05
"""A burst of events about one service becomes one reconcile."""


class ReconcileQueue:
    """Feeds `reconcile` from events; `reconcile` may block and runs in a thread."""

    def __init__(self, reconcile: Callable[[str, str], None], *, workers: int = 4) -> None:
        self._reconcile = reconcile
        self._workers = workers
        self._ready: asyncio.Queue[Key] = asyncio.Queue()
        self._waiting: set[Key] = set()
        self._busy: set[Key] = set()
        self._again: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._timers: set[asyncio.TimerHandle] = set()

    def add(self, namespace: str, name: str, *, delay: float = SETTLE_SECONDS) -> None:
        """Reconcile this service soon. Call from the event loop."""
        key = (namespace, name)
        if key in self._busy:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            asyncio.get_running_loop().call_later(delay, self._ready.put_nowait, key)

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            key = await self._ready.get()
            self._waiting.discard(key)
            self._busy.add(key)
            delay = SETTLE_SECONDS
            try:
                await asyncio.to_thread(self._reconcile, *key)
                self._failures.pop(key, None)
            except UnavailableError as error:
                delay = self._back_off(key)
                logger.warning("%s/%s: %s; again in %.1f s", *key, error, delay)
                self._again.add(key)
            except Exception:
                # One service's surprise must not stop the others; it is retried and loud.
                delay = self._back_off(key)
                logger.exception("%s/%s: reconcile failed; again in %.1f s", *key, delay)
                self._again.add(key)
            finally:
                self._busy.discard(key)
            if key in self._again:
                self._again.discard(key)
                self.add(*key, delay=delay)

    def _back_off(self, key: Key) -> float:
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        return min(LAST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0**failures)
