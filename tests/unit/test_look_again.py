"""What a write's conflict makes of the known object. That a status is written in the end, a real API server shows
(tests/operator/test_operator_outage.py)."""

from __future__ import annotations

from typing import Any, cast

import pytest

from andante.api.v1alpha1 import KIND
from andante.app.reconcile.look_again import look_again
from andante.app.world import World
from andante.ports import Cluster, NotFoundError, RefusedError, UnavailableError

KEY = (KIND, "team", "chat")


def _service(version: int) -> dict[str, Any]:
    return {
        "kind": KIND,
        "metadata": {"namespace": "team", "name": "chat", "uid": "u", "resourceVersion": str(version)},
    }


class _Answer:
    """An API server that has this to say of any object."""

    def __init__(self, answer: dict[str, Any] | Exception) -> None:
        self._answer = answer

    def read(self, *, kind: str, namespace: str, name: str) -> dict[str, Any]:
        assert (kind, namespace, name) == KEY
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def _version_after(answer: dict[str, Any] | Exception) -> str | None:
    world = World()
    world.put(_service(5))
    look_again(cast("Cluster", _Answer(answer)), world, KEY)
    known = world.get(*KEY)
    return None if known is None else str(known["metadata"]["resourceVersion"])


def test_the_present_version_is_taken() -> None:
    assert _version_after(_service(9)) == "9"


def test_an_answer_that_is_older_than_the_watch_changes_nothing() -> None:
    assert _version_after(_service(3)) == "5"


def test_an_object_that_is_gone_is_forgotten() -> None:
    assert _version_after(NotFoundError("chat")) is None


@pytest.mark.parametrize("error", [RefusedError("no right"), UnavailableError("busy")])
def test_what_cannot_be_read_stays_as_the_watch_showed_it(error: Exception) -> None:
    assert _version_after(error) == "5"
