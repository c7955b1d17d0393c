"""Queues services for a reconcile: each at most once, one worker at a time per service, retries with back-off."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from andante.ports import UnavailableError

logger = logging.getLogger(__name__)

Key = tuple[str, str]
"""Namespace and name of a service."""

FIRST_RETRY_SECONDS = 0.5
LAST_RETRY_SECONDS = 30.0
WORKERS = 16
"""Services in work at the same time."""
SETTLE_SECONDS = 0.05
"""A burst of events about one service becomes one reconcile."""


class ReconcileQueue:
    """Calls `reconcile` for each queued service. `reconcile` may block and runs in a thread. It returns the seconds
    after which it wants to be called again even without an event (None: never).

    A namespace whose calls hang must not keep others waiting: a namespace gets a further worker only while it has fewer
    at work than are free. Of 16, one that is alone gets 8, one that comes later 4, and so on (the dynamic threshold of
    Choudhury and Hahne, IEEE/ACM Transactions on Networking 6(2), 1998)."""

    def __init__(
        self,
        reconcile: Callable[[str, str], float | None],
        *,
        workers: int = WORKERS,
        on_fault: Callable[[str], None] = lambda kind: None,
    ) -> None:
        """`workers`: services in work at the same time, each in a thread. `on_fault` is called with the kind of each
        fault of the operator itself."""
        self._reconcile = reconcile
        self._on_fault = on_fault
        self._workers = workers
        # Own threads: whatever else runs in threads must not take them.
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="reconcile")
        self._ready: asyncio.Queue[Key] = asyncio.Queue()
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._waiting: set[Key] = set()
        self._busy: set[Key] = set()
        self._at_work: Counter[str] = Counter()
        self._due_by_namespace: dict[str, deque[Key]] = {}  # those that have no worker yet, the longest wait first
        self._again: dict[Key, float] = {}
        self._failures: dict[Key, int] = {}

    def __len__(self) -> int:
        """The number of services that wait, including those that wait for a retry."""
        return len(self._timers) + len(self._waiting)

    def add(self, namespace: str, name: str, *, delay: float = SETTLE_SECONDS) -> None:
        """Reconcile this service within `delay` seconds. Call from the event loop."""
        key = (namespace, name)
        if key in self._busy:
            self._again[key] = min(delay, self._again.get(key, delay))
        elif key not in self._waiting:
            loop = asyncio.get_running_loop()
            timer = self._timers.get(key)
            if timer is not None:
                if timer.when() <= loop.time() + delay:
                    return
                timer.cancel()
            self._timers[key] = loop.call_later(delay, self._due, key)

    async def run(self) -> None:
        """Work until cancelled; then finish the current reconciles first."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._work())

    def _due(self, key: Key) -> None:
        self._timers.pop(key, None)
        self._waiting.add(key)
        self._due_by_namespace.setdefault(key[0], deque()).append(key)
        self._hand_out()

    def _hand_out(self) -> None:
        """Give free workers to the namespaces that may have one more, in turns."""
        turn = list(itertools.islice(self._due_by_namespace, len(self._at_work) + self._workers))
        for namespace in turn:
            if self._at_work[namespace] >= self._workers - self._at_work.total():
                continue
            keys = self._due_by_namespace.pop(namespace)
            self._at_work[namespace] += 1
            self._ready.put_nowait(keys.popleft())
            if keys:
                self._due_by_namespace[namespace] = keys  # behind the others

    async def _work(self) -> None:
        while True:
            key = await self._ready.get()
            self._waiting.discard(key)
            self._busy.add(key)
            try:
                delay = await self._once(key)
            finally:
                self._busy.discard(key)
                self._done(key[0])
            wanted = [d for d in (delay, self._again.pop(key, None)) if d is not None]
            if key in self._failures:
                wanted = wanted[:1]  # events from our own unfinished writes must not shorten the back-off
            if wanted:
                self.add(*key, delay=min(wanted))

    def _done(self, namespace: str) -> None:
        """A worker of the namespace is free."""
        self._at_work[namespace] -= 1
        if not self._at_work[namespace]:
            del self._at_work[namespace]
        self._hand_out()

    async def _once(self, key: Key) -> float | None:
        try:
            delay = await _to_its_end(asyncio.get_running_loop().run_in_executor(self._threads, self._reconcile, *key))
        except UnavailableError as error:
            delay = self._back_off(key)
            logger.warning("%s/%s: %s; again in %.1f s", *key, error, delay)
            return delay
        except Exception:
            # An unexpected error of one service must not stop the others. It is logged, and the service is retried.
            delay = self._back_off(key)
            self._on_fault("reconcile")
            logger.exception("%s/%s: reconcile failed; again in %.1f s", *key, delay)
            return delay
        self._failures.pop(key, None)
        return delay

    def _back_off(self, key: Key) -> float:
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        return min(LAST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0 ** min(failures, 10))


async def _to_its_end(task: asyncio.Future[float | None]) -> float | None:
    """Await work that goes on when cancelled (a thread): the Lease must not be released before this work has ended."""
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        # The next operator repeats the work. Whoever is cancelled twice no longer waits, and its error is no surprise.
        task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        await asyncio.wait([task])
        raise
