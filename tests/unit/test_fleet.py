"""What the operator holds of a service is that service's alone, and ends with it."""

from __future__ import annotations

import itertools
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from andante.api.v1alpha1 import SpecError
from andante.app.fleet import Fleet
from andante.app.world import World


def _service(version: str, *, uid: str = "first", **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "andante.dev/v1alpha1",
        "kind": "LLMService",
        "metadata": {"name": "chat", "namespace": "team", "uid": uid, "resourceVersion": version, **metadata},
        "spec": {"model": {"id": "org/model"}},
    }


def _fleet(*objects: dict[str, Any]) -> Fleet:
    world = World()
    for obj in objects:
        world.put(obj)
    return Fleet(world)


def test_a_state_lasts_over_changes_of_its_service() -> None:
    fleet = _fleet(_service("1"))
    _, state = fleet.find("team", "chat") or pytest.fail("no service")
    state.faults["tick"] = "noted"
    fleet.world.put(_service("2"))
    found = fleet.find("team", "chat")
    assert found is not None
    assert found[1] is state


def test_a_service_that_is_made_again_inherits_nothing() -> None:
    fleet = _fleet(_service("1"))
    _, state = fleet.find("team", "chat") or pytest.fail("no service")
    fleet.world.put(_service("5", uid="second"))  # nobody looked between its deletion and its return
    found = fleet.find("team", "chat")
    assert found is not None
    assert found[1] is not state
    assert found[1].uid == "second"


def test_a_service_that_is_being_deleted_is_no_longer_there() -> None:
    fleet = _fleet(_service("1"))
    assert fleet.find("team", "chat")
    fleet.world.put(_service("2", deletionTimestamp="2026-01-01T00:00:00Z"))
    assert fleet.find("team", "chat") is None
    assert fleet.all() == []
    assert len(fleet) == 0


def test_what_is_gone_is_forgotten() -> None:
    fleet = _fleet(_service("1"))
    assert len(fleet.all()) == 1
    fleet.world.drop(_service("2"))
    assert fleet.all() == []
    assert len(fleet) == 0


def test_a_spec_that_cannot_be_read_stays_so_until_it_changes() -> None:
    broken = _service("1")
    broken["spec"] = {"model": {"id": 7}}
    fleet = _fleet(broken)
    obj, state = fleet.find("team", "chat") or pytest.fail("no service")
    for _ in range(2):
        with pytest.raises(SpecError):
            state.service(obj)
    fleet.world.put(_service("2"))
    obj, state = fleet.find("team", "chat") or pytest.fail("no service")
    assert state.service(obj).name == "chat"


def test_services_come_and_go_while_all_are_asked_for() -> None:
    standing = [_service("1", name=f"standing{number}", uid=f"u{number}") for number in range(1000)]
    fleet = _fleet(*standing)
    over = threading.Event()

    def come_and_go() -> None:
        for version in itertools.count(1, 2):
            metadata = {"name": f"s{version}", "uid": f"u-{version}"}
            fleet.world.put(_service(str(version), **metadata))
            fleet.find("team", f"s{version}")
            fleet.world.drop(_service(str(version + 1), **metadata))
            fleet.find("team", f"s{version}")
            if over.is_set():
                return

    every = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads take turns within a loop over a thousand names
    try:
        with ThreadPoolExecutor(2) as pool:
            others = [pool.submit(come_and_go) for _ in range(2)]
            try:
                for _ in range(300):
                    fleet.all()
            finally:
                over.set()
            for other in others:
                other.result()
    finally:
        sys.setswitchinterval(every)
    assert len(fleet.all()) == len(standing)
