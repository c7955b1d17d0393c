"""A service that would miss its objective on idle replicas says so, and buys none for it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from andante.api.v1alpha1 import LLMService
from andante.app.pods import sort_pods
from andante.app.scaling.judge import TickResult, judge
from andante.app.scaling.measurement import Measurement, nothing_measured
from andante.app.status.build import build_status
from andante.app.status.conditions import Observation, conditions
from andante.domain.idle_replica import IdleReason
from andante.domain.scaling.figures import Figure, Missing, NoTraffic, Observed, Stale
from andante.domain.scaling.memory import Memory
from andante.domain.slo.ledger import Ledger


def _service(**spec: Any) -> LLMService:
    return LLMService.parse({"metadata": {"name": "chat"}, "spec": {"model": {"id": "org/model"}, **spec}})


def _measured(
    *, load: float = 0.0, idle: float = 0.0, mean: float = 0.9, reason: IdleReason | None = None, fitted: bool = True
) -> Measurement:
    def seen(value: float) -> Figure:
        return Observed(value=value, at=100.0)

    return dataclasses.replace(
        nothing_measured(""),
        deficit=seen(load + idle),
        load_deficit=seen(load),
        idle_deficit=seen(idle),
        mean_qoe=seen(mean),
        open_requests=seen(5.0),
        idle_reason=reason,
        step_time_fitted=fitted,
        pods_measured=1,
    )


def _observation(measurement: Measurement | None) -> Observation:
    return Observation(
        service=_service(), pods=sort_pods([]), deployment=None, wanted_replicas=1, measurement=measurement
    )


def _told(measurement: Measurement | None) -> tuple[str, str, str]:
    (condition,) = (c for c in conditions(_observation(measurement), now=0.0) if c.type == "ObjectiveUnreachable")
    return condition.status, condition.reason, condition.message


@pytest.mark.parametrize(
    ("reason", "word", "advice"),
    [
        (IdleReason.REASONING, "Reasoning", "expectedTTFT"),
        (IdleReason.PROMPT, "LongPrompts", "expectedPrefillRate"),
        (IdleReason.PACE, "PaceAboveDecodeSpeed", "lower pace"),
        (IdleReason.EMPTY, "EmptyAnswers", "max_tokens"),
        (IdleReason.SLOW, "SlowEngine", "throttled"),
    ],
)
def test_what_idle_replicas_miss_is_told_with_its_reason_and_what_to_do(
    reason: IdleReason, word: str, advice: str
) -> None:
    status, said, message = _told(_measured(idle=0.2, reason=reason))
    assert (status, said) == ("True", word)
    assert "0.200" in message
    assert advice in message.split("What to do: ")[1]


def test_a_little_of_it_is_within_the_promise() -> None:
    """1 of 100 requests may be bad by default: .0095 in the mean."""
    assert _told(_measured(idle=0.009, reason=IdleReason.PACE))[:2] == ("False", "Reachable")


def test_load_alone_says_nothing_about_reach() -> None:
    assert _told(_measured(load=0.5))[:2] == ("False", "Reachable")


def test_an_estimate_is_called_one() -> None:
    assert "an estimate" in _told(_measured(idle=0.2, reason=IdleReason.PACE, fitted=False))[2]
    assert "an estimate" not in _told(_measured(idle=0.2, reason=IdleReason.PACE))[2]


@pytest.mark.parametrize(
    ("figure", "reason"),
    [(Missing(why="no pod"), "NotMeasured"), (Stale(at=1.0), "NotMeasured"), (NoTraffic(), "NoTraffic")],
)
def test_what_is_not_known_is_unknown(figure: Figure, reason: str) -> None:
    assert _told(dataclasses.replace(_measured(), idle_deficit=figure))[:2] == ("Unknown", reason)


@pytest.mark.parametrize("measurement", [None, _measured(idle=0.2)])
def test_before_anything_is_known_it_is_unknown(measurement: Measurement | None) -> None:
    assert _told(measurement)[:2] == ("Unknown", "NotMeasured")


def _judged(measurement: Measurement, **scaling: Any) -> TickResult:
    service = _service(scaling={"mode": "Auto", "maxReplicas": 10, **scaling})
    pod = {
        "metadata": {"name": "chat-1", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"containers": []},
        "status": {"conditions": [{"type": "Ready", "status": "True"}], "podIP": "10.0.0.1"},
    }
    return judge(
        service,
        deployment={"spec": {"replicas": 1}, "metadata": {}},
        pods=sort_pods([pod]),
        measurement=measurement,
        memory=Memory(),
        ledger=Ledger(),
        window=60.0,
        now=2e9,
    )


def _wanted(measurement: Measurement, **scaling: Any) -> int:
    return _judged(measurement, **scaling).decision.wanted


@pytest.mark.parametrize(("load_goodput", "quiet"), [(100.0, True), (20.0, False)])
def test_idling_on_idle_replicas_keeps_none_of_them(load_goodput: float, quiet: bool) -> None:
    goodputs = {"smooth_goodput": 10.0, "load_goodput": load_goodput, "throughput": 100.0}
    seen = {name: Observed(value=value, at=100.0) for name, value in goodputs.items()}
    measured = dataclasses.replace(_measured(idle=0.2, reason=IdleReason.REASONING), **seen)
    assert (_judged(measured).memory.quiet_since is not None) == quiet


def test_replicas_are_bought_for_load_and_for_nothing_else() -> None:
    assert _wanted(_measured(load=0.3)) > 1
    assert _wanted(_measured(idle=0.3, reason=IdleReason.REASONING)) == 1
    assert _wanted(_measured(load=0.3, idle=0.3, reason=IdleReason.REASONING)) == _wanted(_measured(load=0.3))


def test_a_mean_as_the_target_is_lowered_by_what_no_replica_relieves() -> None:
    target = {"target": {"meanQoE": 0.95}}
    assert _wanted(_measured(load=0.0, idle=0.3, mean=0.65), **target) == 1
    assert _wanted(_measured(load=0.3, idle=0.0, mean=0.65), **target) > 1


def test_the_status_shows_both_parts() -> None:
    status = build_status(_observation(_measured(load=0.1, idle=0.2)), memory=None, now=0.0)
    assert status.qoe is not None
    assert (status.qoe.deficit, status.qoe.load_deficit, status.qoe.idle_deficit) == (pytest.approx(0.3), 0.1, 0.2)
