"""The operator's metrics of each service, as its /metrics shows them: known figures only, and of existing services."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import prometheus_client
import pytest
from prometheus_client.parser import text_string_to_metric_families

from andante.adapters.own_metrics import OwnMetrics
from andante.api.v1alpha1 import Condition, LLMServiceStatus
from andante.app.fleet import Fleet, ServiceState
from andante.app.scaling.pod_history import COUNTERS
from andante.app.scaling.tick import STALE_TICKS, ScalingTick
from andante.app.status.figures import all_figures
from andante.app.world import World
from andante.domain import metric_names
from andante.domain.deficit_cause import Cause
from andante.ports import PodAddress, PodSample, Unread
from metric_lint import faults

TICK = 15.0
Series = dict[tuple[str, ...], float]


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return 1_800_000_000.0 + self.time

    def monotonic(self) -> float:
        return self.time


class Engines:
    """Each pod has the same open requests and the same counts of ended ones; or cannot be read."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.open_requests, self.ended, self.good = 0.0, 0.0, 0.0
        self.lacked: dict[Cause, float] = {}
        """Deficit of each open request, by cause."""
        self.reachable = True

    async def read(self, pods: Sequence[PodAddress]) -> Mapping[tuple[str, str], PodSample | Unread]:
        counts = {
            metric_names.REQUESTS: self.ended,
            metric_names.SCORED_REQUESTS: self.ended,
            metric_names.ENDED_QOE: self.good,
            metric_names.GOOD_REQUESTS: self.good,
        }
        lacked = {cause.value: self.open_requests * self.lacked.get(cause, 0.0) for cause in Cause}
        sample = PodSample(
            at=self._clock.now(),
            counters={**dict.fromkeys(COUNTERS, 0.0), **counts},
            open_requests=self.open_requests,
            open_qoe_sum=self.open_requests - sum(lacked.values()),
            open_deficit=lacked,
        )
        return {(p.namespace, p.name): sample if self.reachable else Unread(why="refused") for p in pods}


class Operator:
    """What the operator has in one process: its world, its ticks and its registry."""

    def __init__(self) -> None:
        self.clock, self.own, self.world, self.faults = Clock(), OwnMetrics(), World(), list[str]()
        self.engines, self.fleet = Engines(self.clock), Fleet(self.world)
        self._version = 0
        self._tick = ScalingTick(fleet=self.fleet, metrics=self.engines, clock=self.clock, tick_seconds=TICK)
        self.own.services(
            lambda: all_figures(
                self.fleet,
                now=self.clock.now(),
                stale_after=STALE_TICKS * TICK,
                on_fault=self.faults.append,
            )
        )

    def put(self, kind: str, name: str, **fields: Any) -> dict[str, Any]:
        """An object of a newer version than all before it."""
        self._version += 1
        metadata = {"name": name, "namespace": "team", "uid": f"{kind}/{name}", "resourceVersion": str(self._version)}
        obj = {"kind": kind, **fields, "metadata": {**metadata, **fields.get("metadata", {})}}
        self.world.put(obj)
        return obj

    def service(self, name: str = "chat", **spec: Any) -> dict[str, Any]:
        return self.put("LLMService", name, spec={"model": {"id": "org/model"}, **spec})

    def pod(self, name: str, *, service: str = "chat", ready: bool = True, **metadata: Any) -> None:
        owner = {"kind": "ReplicaSet", "name": f"{service}-5f", "controller": True}
        metadata = {
            "labels": {"andante.dev/llmservice": service, "pod-template-hash": "5f"},
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "ownerReferences": [owner],
            **metadata,
        }
        status = {"phase": "Running", "podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": str(ready)}]}
        self.put("Pod", name, metadata=metadata, spec={"containers": []}, status=status)

    def tick(self, times: int = 1) -> None:
        for _ in range(times):
            self.clock.time += TICK
            asyncio.run(self._tick.tick())

    def state(self, name: str = "chat") -> ServiceState:
        found = self.fleet.find("team", name)
        assert found
        return found[1]

    def scraped(self) -> dict[str, Series]:
        """By name of the series: the values by the labels' values, in the order of the labels' names."""
        text = prometheus_client.generate_latest(self.own.registry).decode()
        found: dict[str, Series] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = dict(sample.labels)
                if labels.pop("namespace", None) == "team":
                    key = (labels.pop("llmservice"), *(labels[name] for name in sorted(labels)))
                    found.setdefault(sample.name, {})[key] = sample.value
        return found


@pytest.fixture
def operator() -> Operator:
    made = Operator()
    made.service(scaling={"minReplicas": 1, "maxReplicas": 4})
    return made


def test_replicas_are_counted_by_state(operator: Operator) -> None:
    for name in ("a", "b", "c"):
        operator.pod(name)
    operator.pod("d", ready=False)
    operator.pod("e", deletionTimestamp="2026-01-01T01:00:00Z")
    operator.tick()
    scraped = operator.scraped()
    counted = (
        metric_names.SERVICE_DESIRED_REPLICAS,
        metric_names.SERVICE_READY_REPLICAS,
        metric_names.SERVICE_STARTING_REPLICAS,
        metric_names.SERVICE_DRAINING_REPLICAS,
    )
    assert [scraped[name][("chat",)] for name in counted] == [1, 3, 1, 1]


@pytest.mark.parametrize("mode", ["Manual", "Advisory"])
def test_where_the_resource_sets_the_replicas_the_scalers_number_is_not_shown(operator: Operator, mode: str) -> None:
    operator.service(scaling={"mode": mode, "minReplicas": 1, "maxReplicas": 4}, replicas=2)
    operator.pod("a")
    operator.engines.open_requests, operator.engines.lacked = 8.0, {Cause.LOAD: 0.5}
    operator.tick(2)
    scraped = operator.scraped()
    assert scraped[metric_names.SERVICE_DESIRED_REPLICAS] == {("chat",): 2}
    assert scraped[metric_names.SCALING_DECISIONS][("chat", "QoEDeficit")] == 1


def test_what_was_measured_is_shown_by_cause(operator: Operator) -> None:
    operator.pod("a")
    operator.engines.open_requests = 8.0
    operator.engines.lacked = {Cause.LOAD: 0.25, Cause.CLIENT: 0.125}
    operator.tick()
    operator.engines.ended, operator.engines.good = 8.0, 6.0
    operator.tick()
    scraped = operator.scraped()
    assert scraped[metric_names.SERVICE_METRICS_STATE] == {("chat", "observed"): 1.0}
    assert scraped[metric_names.SERVICE_GOOD_RATIO] == {("chat",): 0.75}
    assert scraped[metric_names.SERVICE_MEAN_QOE] == {("chat",): pytest.approx((6 + 8 * 0.625) / 16)}
    assert scraped[metric_names.SERVICE_DEFICIT] == {
        ("chat", "load"): pytest.approx(0.125),
        ("chat", "client"): pytest.approx(0.0625),
        ("chat", "idle"): 0.0,
        ("chat", "failed"): 0.0,
    }
    assert ("chat",) in scraped[metric_names.SERVICE_SMOOTH_GOODPUT]


FIGURES = (
    metric_names.SERVICE_MEAN_QOE,
    metric_names.SERVICE_DEFICIT,
    metric_names.SERVICE_GOOD_RATIO,
    metric_names.SERVICE_SMOOTH_GOODPUT,
    metric_names.SLO_BUDGET_REMAINING_RATIO,
)


@pytest.mark.parametrize(
    ("reachable", "state"), [(False, "missing"), (True, "no_traffic")], ids=["unreachable", "idle"]
)
def test_a_figure_that_is_not_known_has_no_sample(operator: Operator, reachable: bool, state: str) -> None:
    operator.pod("a")
    operator.engines.reachable = reachable
    operator.tick(2)
    scraped = operator.scraped()
    assert scraped[metric_names.SERVICE_METRICS_STATE] == {("chat", state): 1.0}
    assert not set(FIGURES) & scraped.keys()


def test_before_the_first_tick_nothing_is_said_of_figures(operator: Operator) -> None:
    operator.pod("a")
    scraped = operator.scraped()
    unknown = {*FIGURES, metric_names.SERVICE_METRICS_STATE, metric_names.SERVICE_DESIRED_REPLICAS}
    assert not unknown & scraped.keys()
    assert scraped[metric_names.SERVICE_READY_REPLICAS] == {("chat",): 1.0}


def test_figures_of_a_tick_that_stopped_are_stale(operator: Operator) -> None:
    operator.pod("a")
    operator.engines.open_requests = 8.0
    operator.tick(2)
    operator.clock.time += STALE_TICKS * TICK
    assert operator.scraped()[metric_names.SERVICE_METRICS_STATE] == {("chat", "observed"): 1.0}
    operator.clock.time += 1.0
    scraped = operator.scraped()
    assert scraped[metric_names.SERVICE_METRICS_STATE] == {("chat", "stale"): 1.0}
    assert not set(FIGURES) & scraped.keys()


def test_the_promise_and_what_is_left_of_its_budget_are_shown(operator: Operator) -> None:
    operator.service(qoe={"objective": {"goodFraction": 0.9, "window": "7d"}})
    operator.pod("a")
    operator.tick()
    operator.engines.ended, operator.engines.good = 100.0, 95.0
    operator.tick()
    scraped = operator.scraped()
    assert scraped[metric_names.SLO_OBJECTIVE_RATIO] == {("chat",): 0.9}
    assert scraped[metric_names.SLO_WINDOW_SECONDS] == {("chat",): 7 * 86_400.0}
    assert scraped[metric_names.SLO_BUDGET_REMAINING_RATIO] == {("chat",): pytest.approx(0.5)}


def _told(status: str, reason: str) -> LLMServiceStatus:
    condition = {"type": "Ready", "status": status, "reason": reason, "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"}  # fmt: skip  # noqa: E501
    return LLMServiceStatus(conditions=(Condition.model_validate(condition),))


def test_of_a_condition_only_its_present_state_has_a_series(operator: Operator) -> None:
    for status, reason in (("False", "EngineStarting"), ("True", "Serving")):
        operator.state().status = _told(status, reason)
        assert operator.scraped()[metric_names.SERVICE_CONDITION] == {("chat", reason, status, "Ready"): 1.0}


def test_after_a_restart_conditions_are_those_of_the_resource(operator: Operator) -> None:
    operator.put("LLMService", "chat", spec={"model": {"id": "m"}}, status=_told("True", "Serving").to_wire())
    assert operator.scraped()[metric_names.SERVICE_CONDITION] == {("chat", "Serving", "True", "Ready"): 1.0}


def test_decisions_are_counted_by_reason_from_zero_on(operator: Operator) -> None:
    operator.pod("a")
    operator.engines.open_requests = 8.0
    operator.tick(2)
    nothing = {("chat", "OneFewerSuffices"): 0.0, ("chat", "QoEDeficit"): 0.0}
    assert operator.scraped()[metric_names.SCALING_DECISIONS] == nothing
    operator.engines.lacked = {Cause.LOAD: 0.5}
    operator.tick()
    assert operator.scraped()[metric_names.SCALING_DECISIONS] == {**nothing, ("chat", "QoEDeficit"): 1.0}


def test_a_deleted_service_leaves_no_series(operator: Operator) -> None:
    gone = operator.service("gone")
    operator.tick()
    assert ("gone",) in operator.scraped()[metric_names.SERVICE_DESIRED_REPLICAS]
    operator.world.drop({**gone, "metadata": {**gone["metadata"], "resourceVersion": "99"}})
    assert {key[0] for series in operator.scraped().values() for key in series} == {"chat"}


def test_promtool_has_no_fault_to_find(operator: Operator) -> None:
    operator.pod("a")
    operator.tick(2)
    page = prometheus_client.generate_latest(operator.own.registry).decode()
    assert metric_names.SERVICE_READY_REPLICAS in page
    assert faults(page, of="") == []


def test_a_stand_by_shows_no_service() -> None:
    text = prometheus_client.generate_latest(OwnMetrics().registry).decode()
    names = [sample.name for family in text_string_to_metric_families(text) for sample in family.samples]
    assert "andante_operator_services" in names
    assert not [name for name in names if name.startswith(("andante_service_", "andante_slo_", "andante_scaling_"))]


def test_a_spec_that_cannot_be_read_costs_the_promise_alone(operator: Operator) -> None:
    operator.pod("a")
    operator.service(model={"id": 7})
    scraped = operator.scraped()
    assert scraped[metric_names.SERVICE_READY_REPLICAS] == {("chat",): 1.0}
    assert metric_names.SLO_OBJECTIVE_RATIO not in scraped


def test_a_service_whose_figures_cannot_be_made_costs_no_other_its_series(operator: Operator) -> None:
    operator.service("bad")
    operator.state("bad").status = object()  # type: ignore[assignment]
    assert ("chat",) in operator.scraped()[metric_names.SERVICE_READY_REPLICAS]
    assert operator.faults == ["metrics"]
