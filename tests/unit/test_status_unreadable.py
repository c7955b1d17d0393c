"""The status of a service that a newer CRD let in, and that this operator cannot read."""

from __future__ import annotations

from typing import Any

from andante.api.v1alpha1.status import UNTOUCHED, LLMServiceStatus
from andante.app.status.build import unreadable_status


def _conditions(status: dict[str, Any]) -> dict[str, tuple[str, str]]:
    told = unreadable_status({"metadata": {"generation": 3}, "status": status}, "spec.scaling.mode", now=1_000_000.0)
    return {c.type: (c.status, c.reason) for c in told.conditions}


def test_no_operator_has_read_it_so_nobody_knows_whether_it_is_ready() -> None:
    unknown = {"SpecValid": ("False", "SpecUnreadable"), "Ready": ("Unknown", "SpecUnreadable")}
    assert _conditions(UNTOUCHED.to_wire()) == unknown
    assert _conditions({}) == unknown


def test_what_an_operator_that_could_read_it_said_stays() -> None:
    ready = {"type": "Ready", "status": "True", "reason": "Serving", "message": "1 of 1 replicas serve"}
    status = {"conditions": [{**ready, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}
    assert _conditions(status)["Ready"] == ("True", "Serving")


def _condition(kind: str, reason: str) -> dict[str, Any]:
    said = {"type": kind, "status": "False", "reason": reason, "message": "m"}
    return {**said, "lastTransitionTime": "2026-01-01T00:00:00Z"}


def test_what_others_wrote_into_the_status_keeps_to_the_bounds_of_the_resource() -> None:
    status = {"conditions": [_condition("Ready", "R" * 1024), *(_condition(f"C{n}", "R") for n in range(31))]}
    told = unreadable_status({"metadata": {"generation": 3}, "status": status}, "spec.scaling.mode", now=1_000_000.0)
    assert LLMServiceStatus.model_validate(told.to_wire()) == told
    assert told.summary
    assert told.summary.problem
    assert told.summary.problem.startswith("Ready:RRR")
    assert told.condition("SpecValid")
