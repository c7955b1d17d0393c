"""What kopf leaves behind when its watches end is ended too: nothing of it is left to be destroyed half-way."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Sequence
from typing import Any

import kopf
import pytest

from andante.app.world import World
from andante.runtime.health import Health
from andante.runtime.watches import Watches
from unit.watch_parts import EnoughError, StillClock


async def _waits_again_when_cancelled() -> None:
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.Event().wait()


async def _fails() -> None:
    await asyncio.sleep(0)
    raise ValueError("half a body")


async def test_a_task_that_waits_again_when_it_is_cancelled_comes_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[asyncio.Task[None]] = []

    async def spawn(**_: Any) -> Sequence[asyncio.Task[None]]:
        left.append(asyncio.create_task(_waits_again_when_cancelled()))
        return [asyncio.create_task(_fails())]

    async def run(tasks: Sequence[asyncio.Task[None]], **_: Any) -> None:
        await asyncio.wait(tasks)

    async def enough() -> None:
        raise EnoughError

    monkeypatch.setattr(kopf, "spawn_tasks", spawn)
    monkeypatch.setattr(kopf, "run_tasks", run)
    unraisable: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    watches = Watches(
        kinds=(), namespaces=(), world=World(), on_news=lambda *_: None, on_list=lambda _: None,
        on_fault=lambda _: None, health=Health(StillClock()),
    )  # fmt: skip
    with pytest.raises(EnoughError):
        await watches.run(may_go_on=enough)
    assert [task.done() for task in left] == [True]
    left.clear()
    gc.collect()
    assert unraisable == []
