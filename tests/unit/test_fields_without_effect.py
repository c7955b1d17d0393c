"""A field that is set and changes nothing is named; a spec without such fields is simply valid."""

from __future__ import annotations

from typing import Any

import pytest

from andante.api.v1alpha1 import LLMService
from andante.app.pods import sort_pods
from andante.app.status.conditions import Observation, conditions
from andante.app.status.problems import is_problem

SCHEDULE = [{"name": "morning", "start": "0 8 * * 1-5", "duration": "2h", "minReplicas": 3}]


def _told(**spec: Any) -> tuple[str, str, str]:
    service = LLMService.parse({"metadata": {"name": "chat"}, "spec": {"model": {"id": "org/model"}, **spec}})
    seen = Observation(service=service, pods=sort_pods([]), deployment=None, wanted_replicas=1)
    (condition,) = (c for c in conditions(seen, now=0.0) if c.type == "SpecValid")
    assert not is_problem(condition)
    return condition.status, condition.reason, condition.message


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        (
            {"replicas": 5, "scaling": {"minReplicas": 2, "maxReplicas": 4}},
            "from 2 to 4 replicas. What to do: set scaling.m",
        ),
        (
            {"scaling": {"schedule": [{**SCHEDULE[0], "start": "99 * * * *"}], "maxReplicas": 4}},
            "scaling.schedule[morning].start: '99 * * * *' is no cron line, or a time that never comes: bad minute",
        ),
        (
            {"scaling": {"schedule": [{**SCHEDULE[0], "start": "0 0 30 2 *"}], "maxReplicas": 4}},
            "scaling.schedule[morning].start: '0 0 30 2 *'",
        ),
        (
            {"scaling": {"schedule": [{**SCHEDULE[0], "timeZone": "Mars/Olympus"}], "maxReplicas": 4}},
            "scaling.schedule[morning].timeZone: there is no time zone 'Mars/Olympus'",
        ),
        ({"scaling": {"schedule": SCHEDULE}}, "scaling.maxReplicas is 1 by default. What to do: set scaling.maxR"),
        ({"scaling": {"schedule": SCHEDULE, "minReplicas": 3, "maxReplicas": 4}}, "as scaling.minReplicas is 3"),
    ],
)
def test_each_is_named(spec: dict[str, Any], named: str) -> None:
    status, reason, message = _told(**spec)
    assert (status, reason) == ("True", "FieldsWithoutEffect")
    assert named in message


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"replicas": 5, "scaling": {"mode": "Manual"}},
        {"replicas": 5, "scaling": {"mode": "Advisory"}},
        {"scaling": {"budget": {"pricePerReplicaHour": 2.5}}},
        {"scaling": {"budget": {"pricePerReplicaHour": 2.5, "valuePerKiloSmoothTokens": 0.01}}},
        {"scaling": {"schedule": SCHEDULE, "maxReplicas": 4}},
    ],
)
def test_what_has_an_effect_is_not(spec: dict[str, Any]) -> None:
    assert _told(**spec)[:2] == ("True", "Valid")
