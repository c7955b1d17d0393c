"""Who leaves when replicas go down: the pods with the fewest readers, told with few writes, whoever lowers it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andante.app.pods import DELETION_COST, sort_pods
from andante.app.reconcile.victim_marks import mark_victims
from andante.domain.scaling.victims import deletion_costs
from andante.ports import NotFoundError, RefusedError, UnavailableError

NAMES = st.sampled_from([f"pod-{i}" for i in range(8)])
READERS = st.dictionaries(NAMES, st.none() | st.floats(0, 100), min_size=1)


def _leave(costs: Mapping[str, int], written: Mapping[str, int], pods: Mapping[str, Any], leaving: int) -> list[str]:
    """The pods that a ReplicaSet takes: those of the lowest costs."""
    after = {pod: written.get(pod, costs.get(pod, 0)) for pod in pods}
    return sorted(after, key=lambda pod: after[pod])[:leaving]


@given(READERS, st.dictionaries(NAMES, st.integers(-8, 8)), st.integers(0, 9))
def test_no_measured_pod_that_stays_has_fewer_readers_than_one_that_leaves(
    readers: dict[str, float | None], costs: dict[str, int], leaving: int
) -> None:
    written = deletion_costs(readers, costs=costs, leaving=leaving)
    gone = _leave(costs, written, readers, leaving)
    known = {pod: value for pod, value in readers.items() if value is not None}
    if known and leaving < len(readers):
        left = [value for pod, value in known.items() if pod not in gone]
        assert all(value <= min(left, default=value) for pod, value in known.items() if pod in gone)


@given(READERS, st.dictionaries(NAMES, st.integers(-8, 8)), st.integers(0, 9))
def test_only_pods_that_leave_are_written_to_and_those_that_were_marked_before(
    readers: dict[str, float | None], costs: dict[str, int], leaving: int
) -> None:
    written = deletion_costs(readers, costs=costs, leaving=leaving)
    marked = {pod for pod in readers if costs.get(pod, 0) < 0}
    assert len(set(written) - marked) <= leaving
    assert all(costs.get(pod, 0) != cost for pod, cost in written.items())
    assert deletion_costs(readers, costs={**costs, **written}, leaving=leaving) == {}


def test_a_pod_that_is_not_measured_is_not_taken_for_an_empty_one() -> None:
    assert set(deletion_costs({"unknown": None, "one": 1, "nine": 9}, costs={}, leaving=1)) == {"one"}
    # Nor for the busiest: a broken pod must not outlive all good ones.
    assert set(deletion_costs({"unknown": None, "one": 1, "nine": 9}, costs={}, leaving=2)) == {"one", "unknown"}
    # What is known goes before what is taken to be the same.
    assert set(deletion_costs({"unknown": None, "three": 3}, costs={}, leaving=1)) == {"three"}


def test_where_nothing_is_measured_old_marks_are_taken_back() -> None:
    assert deletion_costs({"a": None, "b": None}, costs={"a": -1, "b": 5}, leaving=1) == {"a": 0}


class Api:
    """Pods are annotated, or not, as `fails` says."""

    def __init__(self) -> None:
        self.written: dict[str, str] = {}
        self.fails: dict[str, Exception] = {}

    def annotate_pod(self, *, namespace: str, name: str, annotations: Mapping[str, str]) -> None:
        if name in self.fails:
            raise self.fails[name]
        self.written[name] = annotations[DELETION_COST]


def _pod(name: str, *, ready: bool = True, cost: str | None = None) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "team", "annotations": {} if cost is None else {DELETION_COST: cost}}
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    return {"metadata": metadata, "spec": {}, "status": {"phase": "Running", "conditions": conditions}}


def _mark(api: Api, *pods: dict[str, Any], present: int | None, replicas: int | None) -> dict[str, str]:
    deployment = None if present is None else {"spec": {"replicas": present}}
    readers = {"a": 4.0, "b": 0.0, "c": 2.0}
    mark_victims(api, sort_pods(pods), deployment=deployment, replicas=replicas, open_by_pod=readers)  # type: ignore[arg-type]
    return api.written


def test_pods_that_leave_are_marked_whoever_lowers_the_number() -> None:
    pods = [_pod(name) for name in "abc"]
    assert _mark(Api(), *pods, present=3, replicas=1) == {"b": "-2", "c": "-1"}


@pytest.mark.parametrize(("present", "replicas"), [(3, 3), (3, 4), (3, None), (None, 1), (3, 0)])
def test_nothing_is_written_where_no_pod_has_to_be_chosen(present: int | None, replicas: int | None) -> None:
    assert _mark(Api(), *(_pod(name) for name in "abc"), present=present, replicas=replicas) == {}


def test_a_cost_that_is_no_number_counts_as_none() -> None:
    assert _mark(Api(), _pod("a", cost="cheap"), _pod("b", cost="-1"), present=2, replicas=1) == {}


@pytest.mark.parametrize("error", [NotFoundError("gone"), RefusedError("webhook"), UnavailableError("away")])
def test_a_pod_that_cannot_be_marked_costs_no_other_its_mark(error: Exception) -> None:
    api = Api()
    api.fails["b"] = error
    assert _mark(api, *(_pod(name) for name in "abc"), present=3, replicas=1) == {"c": "-1"}
