"""kopf remembers no object: of one that is deleted while a watch is cut off, it would never forget anything."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import kopf
import pytest

from andante.app.world import World
from andante.runtime.health import Health
from andante.runtime.watches import Watches
from unit.watch_parts import EnoughError, StillClock


async def test_an_object_that_was_seen_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    noticed: list[bool] = []
    remembered: list[Any] = []

    async def sees_an_object(memories: Any) -> None:
        memory = await memories.recall({"metadata": {"uid": "u"}}, noticed_by_listing=True)
        noticed.append(memory.noticed_by_listing)
        remembered.extend(memories.iter_all_memories())
        raise EnoughError

    async def spawn(*, memories: Any, **_: Any) -> Sequence[asyncio.Task[None]]:
        return [asyncio.create_task(sees_an_object(memories))]

    async def run(tasks: Sequence[asyncio.Task[None]], **_: Any) -> None:
        await asyncio.wait(tasks)

    async def enough() -> None:
        raise EnoughError

    monkeypatch.setattr(kopf, "spawn_tasks", spawn)
    monkeypatch.setattr(kopf, "run_tasks", run)
    watches = Watches(
        kinds=(), namespaces=(), world=World(), on_news=lambda *_: None, on_list=lambda _: None,
        on_fault=lambda _: None, health=Health(StillClock()),
    )  # fmt: skip
    with pytest.raises(EnoughError):
        await watches.run(may_go_on=enough)
    assert (noticed, remembered) == ([True], [])
