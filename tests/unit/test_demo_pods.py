"""The lives of the demo's pods: what was bought, when it served, and what is paid."""

from __future__ import annotations

import pytest
from hack.demo.pod_lives import PodLives, PodSeen, most_ready, replica_minutes


def _seen(name: str, *, ready: bool = True, leaving: bool = False) -> PodSeen:
    return PodSeen(name=name, ready=ready, leaving=leaving)


def _surge() -> PodLives:
    pods = PodLives()
    pods.look([_seen("a")], at=0.4)
    pods.look([_seen("a"), _seen("b", ready=False)], at=60.0)
    pods.look([_seen("a"), _seen("b")], at=90.0)
    pods.look([_seen("a"), _seen("b", leaving=True)], at=150.0)
    pods.look([_seen("a")], at=180.0)
    return pods


def test_a_bought_pod_has_its_warm_up_and_its_end() -> None:
    first, second = _surge().lives
    assert (first.bought, first.created, first.warm_up, first.gone) == (False, 0.0, None, None)
    assert (second.bought, second.created, second.ready, second.leaving, second.gone) == (
        True,
        60.0,
        90.0,
        150.0,
        180.0,
    )
    assert second.warm_up == 30.0


def test_start_and_drain_are_paid() -> None:
    assert replica_minutes(_surge().lives, until=240.0) == pytest.approx((240 + 120) / 60)
    assert replica_minutes(_surge().lives, until=120.0) == pytest.approx((120 + 60) / 60)


def test_a_pod_that_drains_does_not_serve() -> None:
    pods = _surge()
    assert most_ready(pods.lives) == 2
    pods.look([_seen("a"), _seen("c")], at=200.0)
    assert most_ready(pods.lives) == 2
    assert pods.present() == 2


def test_readiness_while_a_pod_ends_is_no_readiness() -> None:
    pods = PodLives()
    pods.look([], at=0.0)
    pods.look([_seen("b", ready=False)], at=1.0)
    pods.look([_seen("b", ready=True, leaving=True)], at=2.0)
    assert pods.lives[0].ready is None


def test_a_pod_is_read_as_the_api_server_shows_it() -> None:
    shown = {
        "metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }
    assert PodSeen.of(shown) == _seen("a", leaving=True)
    assert PodSeen.of({"metadata": {"name": "a"}}) == _seen("a", ready=False)
