"""AlertsLoaded: what the operator makes of a Prometheus' list of rules, and of a server that has none to tell."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from andante.adapters import prometheus_access
from andante.adapters.prometheus_rules import PrometheusRules
from andante.api.v1alpha1 import KIND, LLMService
from andante.app.alerts_round import AlertsRound
from andante.app.children.prometheus_rule import promise_rules
from andante.app.fleet import Fleet
from andante.app.status.alerts_loaded import AlertsVerdict, alerts_verdict, loaded
from andante.app.world import World
from andante.domain.slo.rules import generic_groups
from andante.ports import LoadedRule, Unread
from small_server import serving

RAW: dict[str, Any] = {
    "kind": KIND,
    "metadata": {"name": "chat", "namespace": "team", "uid": "u1", "resourceVersion": "1"},
    "spec": {"model": {"id": "org/model"}},
}


def _service(**spec: Any) -> LLMService:
    return LLMService.parse({**RAW, "spec": {**RAW["spec"], **spec}})


def _rules(*, failed: str = "") -> list[LoadedRule]:
    groups = (*promise_rules(_service(), runbook_url=""), *generic_groups())
    named = [(group["name"], rule.get("alert") or rule["record"]) for group in groups for rule in group["rules"]]
    return [
        LoadedRule(group=group, name=name, error="too many samples" if name == failed else "") for group, name in named
    ]


def _verdict(rules: Sequence[LoadedRule] | Unread, **spec: Any) -> AlertsVerdict:
    return alerts_verdict(_service(**spec), rules if isinstance(rules, Unread) else loaded(rules))


def test_all_rules_are_there() -> None:
    assert (_verdict(_rules()).status, _verdict(_rules()).reason) == ("True", "Loaded")


@pytest.mark.parametrize("name", ["AndanteQoEBudgetBurnSlow", "llmservice:andante_slo_bad:ratio1h"])
def test_a_rule_that_cannot_be_evaluated_is_named_with_the_cause(name: str) -> None:
    verdict = _verdict(_rules(failed=name))
    assert (verdict.status, verdict.reason) == ("False", "Unhealthy")
    assert name in verdict.message
    assert "too many samples" in verdict.message


def test_the_rules_of_a_service_of_another_namespace_are_not_this_one_s() -> None:
    others = [LoadedRule(group=r.group.replace("andante.team.", "andante.other."), name=r.name) for r in _rules()]
    assert _verdict(others).reason == "NotLoaded"


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"monitoring": {"prometheusRule": False}}, "prometheusRule is false"),
        ({"qoe": {"classes": [{"name": "batch"}]}}, "batch"),
        ({"qoe": {"objective": {"window": "6h"}}}, "below a day"),
    ],
)
def test_a_service_without_alerts_misses_none(spec: dict[str, Any], said: str) -> None:
    for rules in (_rules(), [], Unread(why="no answer")):
        verdict = _verdict(rules, **spec)
        assert (verdict.status, verdict.reason) == ("Unknown", "NoAlerts")
        assert said in verdict.message


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (404, b"404 page not found", "HTTP 404: 404 page not found"),
        (422, json.dumps({"status": "error", "error": "not here"}).encode(), "HTTP 422: not here"),
        (200, b"<html>", "not that of Prometheus' API"),
        (200, b"[]", "not that of Prometheus' API"),
        (200, json.dumps({"data": {"groups": 5}}).encode(), "not a list of rules"),
        (200, json.dumps({"data": {"groups": [{"name": "x"}]}}).encode(), "not a list of rules"),
        (200, json.dumps({"data": {"groups": [5]}}).encode(), "not a list of rules"),
        (200, b" " * 2000, "more than"),
    ],
)
async def test_an_answer_that_is_no_list_of_rules_is_unknown_with_the_cause(
    monkeypatch: pytest.MonkeyPatch, status: int, body: bytes, said: str
) -> None:
    monkeypatch.setattr(prometheus_access, "MAX_RULES_BYTES", 1000)
    with serving(lambda _: (status, "application/json", body)) as port:
        read = await PrometheusRules(url=f"http://127.0.0.1:{port}", timeout_seconds=5).read()
    assert isinstance(read, Unread)
    assert said in read.why
    verdict = _verdict(read)
    assert (verdict.status, verdict.reason, verdict.message) == ("Unknown", "RulesUnread", read.why)


async def test_a_server_that_is_not_there_is_unknown() -> None:
    read = await PrometheusRules(url="http://127.0.0.1:1", timeout_seconds=5).read()
    assert isinstance(read, Unread)
    assert "Connection refused" in read.why


class _Source:
    def __init__(self) -> None:
        self.answer: Sequence[LoadedRule] | Unread = ()

    async def read(self) -> Sequence[LoadedRule] | Unread:
        return self.answer


async def test_a_round_reports_a_service_once_for_each_change() -> None:
    fleet, source = Fleet(World()), _Source()
    fleet.world.put(RAW)
    rounds = AlertsRound(fleet=fleet, rules=source)
    for answer, changed in ((_rules(), True), (_rules(), False), (Unread(why="gone"), True), (_rules(), True)):
        source.answer = answer
        assert await rounds.round() == ([("team", "chat")] if changed else [])


async def test_a_service_that_cannot_be_read_costs_the_others_nothing() -> None:
    fleet, source = Fleet(World()), _Source()
    fleet.world.put({**RAW, "metadata": {**RAW["metadata"], "name": "broken", "uid": "u2"}, "spec": {"model": 5}})
    fleet.world.put(RAW)
    source.answer = _rules()
    assert await AlertsRound(fleet=fleet, rules=source).round() == [("team", "chat")]
