"""What a status tells of a decision's inputs, and why there is no plan; who changed the replicas is told by name."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from andante.api.v1alpha1 import LLMService, ScalingStatus
from andante.app.scaling.demand import NO_ARRIVALS, NO_FIT
from andante.app.scaling.measurement import Measurement, nothing_measured
from andante.domain.scaling.demand import Demand
from andante.domain.scaling.engine_capacity import EngineCapacity
from andante.domain.scaling.figures import Figure, Missing, NoTraffic, Observed
from andante.domain.step_time import DEFAULT_STEP_TIME
from unit.status_after_tick import NOW, status_after_tick

SERVICE = LLMService.parse(
    {"metadata": {"name": "chat"}, "spec": {"model": {"id": "org/model"}, "scaling": {"maxReplicas": 10}}}
)


def _measured(*, load: float) -> Measurement:
    seen = {
        name: Observed(value=value, at=100.0)
        for name, value in (("deficit", load), ("load_deficit", load), ("open_requests", 5.0))
    }
    measured = nothing_measured("not read")
    demand = dataclasses.replace(measured.demand, arrivals=Missing(why=NO_ARRIVALS))
    return dataclasses.replace(measured, demand=demand, pods_measured=1, **seen)


def _of_engines(*, fitted: bool, answers: Figure, **known: Figure) -> Measurement:
    """Measured, by engines that tell their demand: two requests in a second; `known`: other figures."""
    measured = _measured(load=0.0)
    engine = EngineCapacity(
        kv_tokens=1e5, max_num_seqs=64, max_step_tokens=2048, step_time=DEFAULT_STEP_TIME, fitted=fitted
    )
    demand = Demand(
        arrivals=Observed(value=2.0, at=NOW),
        prompt_tokens=Observed(value=100.0, at=NOW),
        answers=Observed(value=2.0, at=NOW),
        generated_tokens=answers,
        generated_answers=answers,
        waiting_requests=Observed(value=0.0, at=NOW),
        waiting_work=Observed(value=0.0, at=NOW),
        window=1.0,
        engine=engine,
    )
    return dataclasses.replace(measured, demand=demand, **known)


def _scaling(measurement: Measurement, *, replicas: int = 1, managed: list[Any] | None = None) -> ScalingStatus:
    """After a tick that found `replicas` in the Deployment, where the status said that one is wanted."""
    scaling = status_after_tick(
        SERVICE, measurement, pods=1, replicas=replicas, desired=1, managed=managed or []
    ).scaling
    assert scaling is not None
    return scaling


def test_a_decision_tells_what_it_was_made_on_and_leaves_out_what_was_not_measured() -> None:
    (decision,) = _scaling(_measured(load=0.3)).decisions
    assert decision.inputs is not None
    assert decision.inputs.to_wire() == {
        "readyReplicas": 1, "startingReplicas": 0, "measuredReplicas": 1, "loadDeficit": 0.3, "openRequests": 5.0,
    }  # fmt: skip


ENDED = Observed(value=50.0, at=NOW)
CONTRADICTION = Missing(why="the metrics contradict one another")


@pytest.mark.parametrize(
    ("measurement", "why"),
    [
        (_measured(load=0.0), NO_ARRIVALS),
        (nothing_measured("no replica is ready"), "no replica is ready"),
        (_of_engines(fitted=False, answers=ENDED), NO_FIT),
        (_of_engines(fitted=True, answers=ENDED, load_deficit=CONTRADICTION), CONTRADICTION.why),
        (_of_engines(fitted=False, answers=ENDED, open_requests=CONTRADICTION), CONTRADICTION.why),
        (
            _of_engines(fitted=True, answers=ENDED),
            "the demand has been seen for less than one slot since it was last unknown",
        ),
        (
            _of_engines(fitted=True, answers=NoTraffic()),
            "no token of an answer was counted yet, so the length of answers is not known",
        ),
    ],
)
def test_the_status_says_why_there_is_no_plan(measurement: Measurement, why: str) -> None:
    scaling = _scaling(measurement)
    assert scaling.curve == ()
    assert scaling.plan_missing == why


def test_a_change_by_another_tool_is_told_as_its_own_also_without_metrics() -> None:
    hpa = {"manager": "kube-controller-manager", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
    (decision,) = _scaling(nothing_measured("Prometheus is down"), replicas=2, managed=[hpa]).decisions
    assert (decision.from_, decision.to, decision.reason) == (1, 2, "ForeignOwner")
    assert "a HorizontalPodAutoscaler" in decision.message
    assert "kubectl get hpa" in decision.message
