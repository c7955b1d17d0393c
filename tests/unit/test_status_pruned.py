"""A status with fields that the API server's CRD, of an earlier version, does not keep."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, cast

import pytest

from andante.app.fleet import Fleet
from andante.app.reconcile.child_sync import ChildSync
from andante.app.reconcile.reconciler import SECONDS_UNTIL_KEPT, Reconciler
from andante.app.world import World, merge_patch, patched
from andante.ports import Cluster, Object

METADATA = {"name": "s", "namespace": "n", "uid": "u", "resourceVersion": "1", "generation": 1}
OF_A_LATER_VERSION = {"model": {"id": "m"}, "scaling": {"mode": "OfALaterVersion"}}
"""A spec that the operator cannot read: its status needs neither children nor figures."""


class _OlderCRD:
    """An API server that drops the fields `unknown` of a status; a write that changes nothing makes no new version."""

    def __init__(self, *unknown: str) -> None:
        self.unknown = set(unknown)
        self.writes: list[Mapping[str, Any]] = []

    def patch_status(self, service: Object, status: Object) -> Object:
        self.writes.append(status)
        written = patched(service.get("status") or {}, status)
        kept = {name: value for name, value in written.items() if name not in self.unknown}
        if kept == (service.get("status") or {}):
            return service
        version = str(int(service["metadata"]["resourceVersion"]) + 1)
        return {**service, "metadata": {**service["metadata"], "resourceVersion": version}, "status": kept}

    def emit(self, **event: Any) -> None:
        """Events are not of interest."""


class _Clock:
    time = 1_000_000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


def _operator(api: _OlderCRD) -> tuple[Reconciler, World, _Clock]:
    world, clock = World(), _Clock()
    metadata = copy.deepcopy(METADATA)
    obj = {"apiVersion": "andante.dev/v1alpha1", "kind": "LLMService", "metadata": metadata}
    world.put({**obj, "spec": OF_A_LATER_VERSION})
    return (
        Reconciler(
            cluster=cast("Cluster", api),
            fleet=Fleet(world),
            children=cast("ChildSync", None),
            clock=clock,
            window=60.0,
        ),
        world,
        clock,
    )


def _reconcile(operator: tuple[Reconciler, World, _Clock], *, times: int, every: float = 15.0) -> None:
    reconciler, _, clock = operator
    for _ in range(times):
        clock.time += every
        reconciler.reconcile("n", "s")


@pytest.mark.parametrize("unknown", [(), ("summary",)])
def test_what_the_api_server_does_not_keep_is_not_written_again_and_again(unknown: tuple[str, ...]) -> None:
    api = _OlderCRD(*unknown)
    operator = _operator(api)
    _reconcile(operator, times=2)
    assert len(api.writes) == 1
    _reconcile(operator, times=20)
    assert len(api.writes) == 1


def test_a_change_is_written_all_the_same() -> None:
    api = _OlderCRD("summary")
    operator = _operator(api)
    _reconcile(operator, times=2)
    world = operator[1]
    obj = world.get("LLMService", "n", "s")
    assert obj
    spec = {"model": {"id": "m"}, "scaling": {"mode": 7}}
    world.put({**obj, "metadata": {**obj["metadata"], "resourceVersion": "9", "generation": 2}, "spec": spec})
    _reconcile(operator, times=5)
    assert len(api.writes) == 2
    assert "conditions" in api.writes[-1]


def test_a_crd_that_was_brought_to_this_version_gets_what_it_now_keeps() -> None:
    api = _OlderCRD("summary")
    operator = _operator(api)
    _reconcile(operator, times=5)
    api.unknown.clear()
    _reconcile(operator, times=2, every=SECONDS_UNTIL_KEPT)
    obj = operator[1].get("LLMService", "n", "s")
    assert obj
    assert obj["status"]["summary"] == {"problem": "Ready:SpecUnreadable"}
    assert len(api.writes) == 2


@pytest.mark.parametrize(
    ("live", "wanted"),
    [
        ({}, {"a": 1, "b": {"c": {}}}),
        ({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"c": 4}}),
        ({"a": {"b": 1}}, {"a": 2}),
        ({"a": 2}, {"a": {"b": [1]}}),
    ],
)
def test_a_merge_patch_makes_what_is_wanted(live: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert patched(live, merge_patch(live, wanted)) == wanted
