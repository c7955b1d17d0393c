"""What a status is written for, and how soon."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from andante.app.status.changes import Change, change

STATUS: dict[str, Any] = {
    "observedGeneration": 2,
    "readyReplicas": 3,
    "qoe": {"state": "Observed", "mean": 0.97, "observedAt": "2026-01-01T00:00:00Z"},
    "scaling": {
        "desired": 3, "reason": "TargetMet", "message": "the target is met", "decisions": [],
        "memory": {"version": 1, "state": {"recent": [[1, 2]], "peaks": [[1, 2]], "quietSince": 5.0}},
    },
    "conditions": [{"type": "Ready", "status": "True", "reason": "Serving", "message": "3 of 3"}],
}  # fmt: skip


def _after(path: str, value: Any) -> dict[str, Any]:
    status = copy.deepcopy(STATUS)
    at: Any = status
    *way, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    for part in way:
        at = at[part]
    at[last] = value
    return status


@pytest.mark.parametrize(
    ("path", "value", "much"),
    [
        ("qoe.observedAt", "2026-01-01T00:00:15Z", Change.NONE),
        ("scaling.memory.state.recent", [[2, 3]], Change.NONE),
        ("scaling.memory.state.peaks", [], Change.NONE),
        ("qoe.mean", 0.96, Change.FIGURES),
        ("scaling.message", "the target is nearly met", Change.FIGURES),
        ("scaling.memory.state.quietSince", 6.0, Change.FIGURES),
        ("conditions.0.message", "3 of 3, well", Change.FIGURES),
        ("qoe.state", "Stale", Change.NEWS),
        ("readyReplicas", 2, Change.NEWS),
        ("observedGeneration", 3, Change.NEWS),
        ("scaling.desired", 4, Change.NEWS),
        ("scaling.reason", "QoEDeficit", Change.NEWS),
        ("conditions.0.reason", "EngineStarting", Change.NEWS),
        ("conditions.0.status", "False", Change.NEWS),
    ],
)
def test_how_much_a_change_is(path: str, value: Any, much: Change) -> None:
    assert change(STATUS, _after(path, value)) is much


def test_a_first_status_is_news() -> None:
    assert change({}, STATUS) is Change.NEWS
