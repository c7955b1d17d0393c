"""The scaler decides the same on what a store of metrics says as on what the pods say themselves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from andante.adapters.prometheus import BEHIND_SECONDS, PrometheusSource
from metric_stores import STORES, Moment, Sample, asked_as_of, filled
from unit.scaled_service import LONG, PODS, TICK, AskedThemselves, LoadClock, exposition, labelled, wanted

BEGAN = time.time() // 7200 * 7200 - 8 * 7200
"""Hours ago: a store of real time would not take samples of the future."""
EVERY = {"every-15": 15.0, "every-60": 60.0, "twice": 15.0, "one-stops": 15.0}
"""Namespaces of the same pods, and how often these are scraped."""
STOPS = 375.0
"""Seconds after which the second job of `one-stops` scrapes no more."""


def _scrapes(namespace: str) -> Iterator[Sample]:
    every = EVERY[namespace]
    jobs = {"engines": (3.0, LONG)}
    if namespace in ("twice", "one-stops"):
        jobs["annotations"] = (1.0, STOPS if namespace == "one-stops" else LONG)
    for job, (before, until) in jobs.items():
        for number, pod in enumerate(PODS):
            seconds = every - before - number
            while seconds <= until:
                for line in exposition(pod, seconds):
                    where = {"namespace": namespace, "pod": pod, "job": job, "instance": f"10.0.0.{number}:8000"}
                    yield BEGAN + seconds, labelled(line, **where)
                seconds += every


@pytest.fixture(scope="module", params=STORES)
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("store")
    with filled(request.param, folder, [sample for namespace in EVERY for sample in _scrapes(namespace)]) as url:
        yield url


def _by_store(url: str, namespace: str, *, behind: float = 0.0, other_behind: float | None = None) -> list[int]:
    """`other_behind`: of a second server at the same address, which answers each other query."""
    clock, moment = LoadClock(BEGAN), Moment(BEGAN)

    def on_tick() -> None:
        is_other = other_behind is not None and clock.time / TICK % 2 == 1
        moment.at = clock.now() - (other_behind if is_other and other_behind is not None else behind)

    with asked_as_of(moment, url) as proxy:
        source = PrometheusSource(url=proxy, timeout_seconds=10.0, round_seconds=20.0)
        return wanted(source, clock, namespace=namespace, behind=BEHIND_SECONDS, on_tick=on_tick)


def _by_pods() -> list[int]:
    clock = LoadClock(BEGAN)
    return wanted(AskedThemselves(clock), clock, namespace="team", on_tick=lambda: None)


def test_the_load_buys_replicas_and_gives_one_back() -> None:
    assert {1, 2, 4} <= set(_by_pods())


@pytest.mark.parametrize(
    ("namespace", "behind", "late"),
    [
        ("every-15", 0.0, 1),
        ("twice", 0.0, 1),
        ("every-15", 30.0, 3),
        # The other job's samples are taken once these are too old.
        ("one-stops", 0.0, 7),
        # The newest sample is up to a minute old, and the window is a minute of samples, at the least.
        ("every-60", 0.0, 5),
        ("every-60", 30.0, 7),
    ],
)
def test_decisions_are_the_same_within_the_age_of_the_samples(
    store: str, namespace: str, behind: float, late: int
) -> None:
    by_pods, by_store = _by_pods(), _by_store(store, namespace, behind=behind)
    assert set(by_store) == set(by_pods)
    for tick, number in enumerate(by_store):
        assert number in by_pods[max(0, tick - late) : tick + 1], (TICK * (tick + 1), by_pods, by_store)


@pytest.mark.parametrize(("namespace", "other_behind", "late"), [("every-15", 20.0, 3), ("every-60", 50.0, 9)])
def test_of_two_servers_at_one_address_the_older_answer_changes_nothing(
    store: str, namespace: str, other_behind: float, late: int
) -> None:
    """Samples that go back in time are neither new nor a restart."""
    by_pods, by_store = _by_pods(), _by_store(store, namespace, other_behind=other_behind)
    assert max(by_store) == max(by_pods)
    for tick, number in enumerate(by_store):
        assert number in by_pods[max(0, tick - late) : tick + 1], (TICK * (tick + 1), by_pods, by_store)
