"""An engine that makes no step is named, with what becomes of it, in words that stay the same while it hangs."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from andante.api.v1alpha1 import LLMService
from andante.app.pods import sort_pods
from andante.app.scaling.measurement import Measurements, nothing_measured
from andante.app.status.conditions import Observation, conditions
from andante.engine_config import HANG_SECONDS, HANGS
from andante.ports import Object, PodAddress, PodSample, Unread


def _pod(name: str, *, ready: bool, **container: Any) -> Object:
    started = {"name": "engine", "started": True, **container}
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "n", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"nodeName": "node"},
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.1",
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
            "containerStatuses": [started],
        },
    }


def _told(silent: dict[str, float], *pods: Object, timeout: str = "1m") -> dict[str, tuple[str, str, str]]:
    spec = {"model": {"id": "m"}, "engine": {"hangTimeout": timeout}}
    observation = Observation(
        service=LLMService.parse({"metadata": {"name": "s", "namespace": "n"}, "spec": spec}),
        pods=sort_pods(pods),
        deployment=None,
        wanted_replicas=len(pods),
        measurement=dataclasses.replace(nothing_measured("no replica is ready"), silent=silent),
    )
    return {c.type: (c.status, c.reason, c.message) for c in conditions(observation, now=0.0)}


def test_one_of_two_replicas_hangs() -> None:
    told = _told({"b": HANG_SECONDS}, _pod("a", ready=True), _pod("b", ready=False))
    assert told["Ready"][:2] == ("True", "Serving")
    status, reason, message = told["Degraded"]
    assert (status, reason) == ("True", "EngineHangs")
    assert message.startswith("pod b: ")
    assert "starts it again" in message
    assert "What to do: " in message


def test_the_only_replica_hangs() -> None:
    told = _told({"a": 75.0}, _pod("a", ready=False))
    assert told["Ready"][:2] == ("False", "EngineHangs")


def test_the_words_stay_the_same_while_it_hangs() -> None:
    assert _told({"a": 61.0}, _pod("a", ready=False)) == _told({"a": 110.0}, _pod("a", ready=False))


def test_a_step_that_takes_long_is_no_hang() -> None:
    assert _told({"a": HANG_SECONDS - 1}, _pod("a", ready=True))["Degraded"][1] == "AsWanted"


@pytest.mark.parametrize(("timeout", "reason"), [("30s", "EngineHangs"), ("5m", "AsWanted"), ("0s", "AsWanted")])
def test_the_service_says_what_is_too_long(timeout: str, reason: str) -> None:
    assert _told({"a": 45.0}, _pod("a", ready=True), timeout=timeout)["Degraded"][1] == reason


def test_where_no_restart_is_wanted_the_hang_is_told_all_the_same() -> None:
    assert "not started again" in _told({"a": 100.0}, _pod("a", ready=True), timeout="0s")["Degraded"][2]


def test_after_its_restart_the_engine_that_loads_again_is_known_as_the_one_that_hung() -> None:
    log = f"INFO step\nERROR {HANGS}: it has sent nothing for 60 s\n"
    ended = {"terminated": {"exitCode": 137, "reason": "Error", "message": log}}
    told = _told({}, _pod("a", ready=False, started=False, restartCount=1, lastState=ended))
    assert told["Degraded"][1] == told["Ready"][1] == "EngineHangs"
    assert HANGS in told["Degraded"][2]


def _sample(silent: float | None) -> PodSample:
    return PodSample(at=0.0, counters={}, open_requests=1.0, open_qoe_sum=0.0, open_deficit={}, silent_seconds=silent)


def test_a_pod_that_left_the_service_is_asked_too() -> None:
    names = {"a": _sample(70.0), "b": _sample(0.0), "c": _sample(None), "d": Unread(why="it does not answer")}
    pods = [PodAddress(namespace="n", name=name, ip="10.0.0.1", port=8000, ready=False) for name in names]
    read = {("n", name): answer for name, answer in names.items()}
    measurements = Measurements(window=60.0, stale_after=60.0)
    assert measurements.measure(pods, read, now=0.0).silent == {"a": 70.0}
