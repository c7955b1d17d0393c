"""Which decisions a status tells, whenever it is written."""

from __future__ import annotations

from typing import Any

from andante.api.v1alpha1 import LLMService, LLMServiceStatus
from andante.app.fleet import ServiceState
from andante.app.pods import sort_pods
from andante.app.scaling.judge import MadeDecision, TickResult
from andante.app.scaling.measurement import nothing_measured
from andante.app.status.build import build_status
from andante.app.status.conditions import Observation
from andante.domain.scaling.decide import Decision, Step
from andante.domain.scaling.memory import Memory

SPEC = {"model": {"id": "m"}, "engine": {"gpusPerReplica": 1}}


def _result(replicas: int, reason: str) -> TickResult:
    step = Step(name="law", replicas=replicas, reason=reason, message=f"because of {reason}", clamped=False)
    decision = Decision(replicas=replicas, wanted=replicas, steps=(step,))
    return TickResult(measurement=nothing_measured("not of interest"), decision=decision, memory=Memory())


def _status(state: ServiceState, before: dict[str, Any] | None = None) -> LLMServiceStatus:
    """As it is written now, `before` being what the API server has."""
    metadata = {"name": "s", "namespace": "n", "uid": "u", "generation": 1}
    service = LLMService.parse({"metadata": metadata, "spec": SPEC, "status": before or {"scaling": {"desired": 1}}})
    observation = Observation(
        service=service,
        pods=sort_pods(()),
        deployment=None,
        wanted_replicas=1,
        decision=state.decision.decision if state.decision else None,
        made=tuple(state.made),
    )
    return build_status(observation, memory=None, now=1_000.0)


def _told(status: LLMServiceStatus) -> list[tuple[int, int, str]]:
    assert status.scaling
    return [(decision.from_, decision.to, decision.reason) for decision in status.scaling.decisions]


def _state(*results: TickResult) -> ServiceState:
    state = ServiceState(uid="u", namespace="n", name="s")
    for second, result in enumerate(results):
        state.decide(result, desired=1, at=100.0 + second)
    return state


def test_a_decision_is_told_with_its_own_reason_though_the_next_tick_overtook_the_status() -> None:
    state = _state(
        _result(2, "QoEDeficit"), _result(2, "TargetMet"), _result(1, "OneFewerSuffices"), _result(1, "TargetMet")
    )
    assert _told(_status(state)) == [(2, 1, "OneFewerSuffices"), (1, 2, "QoEDeficit")]


def test_what_a_status_has_told_is_not_told_again() -> None:
    state = _state(_result(2, "QoEDeficit"))
    before = _status(state).to_wire()
    state.decide(_result(3, "QoEDeficit"), desired=2, at=200.0)
    assert _told(_status(state, before)) == [(2, 3, "QoEDeficit"), (1, 2, "QoEDeficit")]


def test_an_operator_that_starts_afresh_keeps_what_was_told() -> None:
    before = _status(_state(_result(2, "QoEDeficit"))).to_wire()
    again = ServiceState(uid="u", namespace="n", name="s")
    again.decide(_result(2, "TargetMet"), desired=2, at=300.0)
    assert _told(_status(again, before)) == [(1, 2, "QoEDeficit")]


def test_a_decision_beside_another_wish_of_the_last_operator_is_told() -> None:
    again = ServiceState(uid="u", namespace="n", name="s")
    again.decide(_result(4, "QoEDeficit"), desired=2, at=300.0)
    assert _told(_status(again)) == [(2, 4, "QoEDeficit")]


def test_a_change_that_a_bound_made_is_told_with_the_bound_s_reason() -> None:
    law = Step(name="law", replicas=2, reason="OneFewerSuffices", message="m", clamped=False)
    bound = Step(name="bounds", replicas=3, reason="MinReplicas", message="m", clamped=True)
    raised = Decision(replicas=3, wanted=3, steps=(law, bound))
    assert MadeDecision(at=0.0, previous=1, decision=raised).why.reason == "MinReplicas"


def test_a_change_that_a_bound_cut_short_is_told_with_the_law_s_reason() -> None:
    law = Step(name="law", replicas=8, reason="QoEDeficit", message="m", clamped=False)
    bound = Step(name="bounds", replicas=3, reason="MaxReplicas", message="m", clamped=True)
    cut = Decision(replicas=3, wanted=3, steps=(law, bound))
    assert MadeDecision(at=0.0, previous=2, decision=cut).why.reason == "QoEDeficit"
