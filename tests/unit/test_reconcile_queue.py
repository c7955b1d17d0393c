"""The queue of reconciles: a namespace whose calls hang costs no other namespace its turn."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from andante.ports import UnavailableError
from andante.runtime.queue import WORKERS, ReconcileQueue

HALF = WORKERS // 2
"""Workers of a namespace that is alone."""
SERVICES = 3 * HALF


class Namespaces:
    """Reconciles that hang in the namespaces "hung…", until they are released."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.began: Counter[str] = Counter()
        self.most_at_once = self._at_once = 0
        self._lock = threading.Lock()

    def reconcile(self, namespace: str, name: str) -> None:
        with self._lock:
            self.began[namespace] += 1
            self._at_once += namespace.startswith("hung")
            self.most_at_once = max(self.most_at_once, self._at_once)
        if namespace.startswith("hung"):
            self.release.wait(30)
        with self._lock:
            self._at_once -= namespace.startswith("hung")


@asynccontextmanager
async def _working(namespaces: Namespaces) -> AsyncIterator[ReconcileQueue]:
    queue = ReconcileQueue(namespaces.reconcile)
    work = asyncio.create_task(queue.run())
    try:
        yield queue
    finally:
        namespaces.release.set()
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.01)


async def test_a_namespace_that_hangs_keeps_no_other_waiting() -> None:
    namespaces = Namespaces()
    async with _working(namespaces) as queue:
        for number in range(SERVICES):
            queue.add("hung", f"s{number}", delay=0)
        await _until(lambda: namespaces.began["hung"] == HALF)
        queue.add("other", "chat", delay=0)
        await _until(lambda: namespaces.began["other"] == 1)
        assert namespaces.began["hung"] == HALF
        assert len(queue) == SERVICES - HALF


@pytest.mark.parametrize("hung", [2, 3, 4])
async def test_several_namespaces_that_hang_keep_no_other_waiting(hung: int) -> None:
    namespaces = Namespaces()
    async with _working(namespaces) as queue:
        for number in range(SERVICES):
            for which in range(hung):
                queue.add(f"hung{which}", f"s{number}", delay=0)
        await _until(lambda: namespaces.most_at_once >= HALF and len(namespaces.began) == hung)
        queue.add("other", "chat", delay=0)
        await _until(lambda: namespaces.began["other"] == 1)


async def test_those_that_had_to_wait_for_their_own_namespace_come_after() -> None:
    namespaces = Namespaces()
    async with _working(namespaces) as queue:
        for number in range(SERVICES):
            queue.add("hung", f"s{number}", delay=0)
        await _until(lambda: namespaces.began["hung"] == HALF)
        queue.add("hung", f"s{SERVICES - 1}", delay=0)  # it waits already
        namespaces.release.set()
        await _until(lambda: len(queue) == 0 and namespaces.began["hung"] == SERVICES)
        assert namespaces.most_at_once == HALF


async def test_an_error_after_the_operator_has_waited_long_enough_is_no_unforeseen_one() -> None:
    begun, release = threading.Event(), threading.Event()
    failed, unforeseen = list[weakref.ref[UnavailableError]](), list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unforeseen.append(context))

    def hangs_and_fails(*_: str) -> None:
        begun.set()
        release.wait(30)
        error = UnavailableError()
        failed.append(weakref.ref(error))
        raise error

    async def end() -> None:
        queue = ReconcileQueue(hangs_and_fails, workers=1)
        work = asyncio.create_task(queue.run())
        queue.add("hung", "chat", delay=0)
        await _until(begun.is_set)
        work.cancel()  # told to end, it waits for the thread, some turns of the loop later
        for _ in range(10):
            await asyncio.sleep(0)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()  # and then no longer
        await asyncio.wait([work])
        release.set()

    await end()
    # asyncio tells of an error that nothing retrieved when the error goes.
    await _until(lambda: bool(unforeseen or (failed and gc.collect() >= 0 and failed[0]() is None)))
    assert unforeseen == []
