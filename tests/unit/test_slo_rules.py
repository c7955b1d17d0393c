"""The rules of a promise as data: their size, their labels, and that no name breaks out of them.

tests/alerts runs them in Prometheus' own rule tests.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from hack.metric_families import metric_families
from hack.promql import selectors
from hypothesis import given
from hypothesis import strategies as st

from andante.domain import metric_names
from andante.domain.pace import PRESETS, QoEClass
from andante.domain.slo.promise import DAY, HOUR, Promise
from andante.domain.slo.promql import quoted
from andante.domain.slo.rules import ALERTS, generic_groups, replayed_rules, rule_file, service_groups, why_no_alerts

MONTH = Promise(good_fraction=0.99, window=28 * DAY)
CLASSES = (PRESETS["reading"], PRESETS["voice"])
LINK = "https://docs.example.com/0.1.0/runbooks/{alert}.html"


def _rules(
    promise: Promise = MONTH, classes: tuple[QoEClass, ...] = CLASSES, namespace: str = "team-a", name: str = "chat"
) -> list[dict[str, Any]]:
    groups = service_groups(namespace=namespace, name=name, promise=promise, classes=classes, runbook_url=LINK)
    return [rule for group in groups for rule in group["rules"]]


GENERIC = [rule for group in generic_groups(runbook_url=LINK) for rule in group["rules"]]
GENERIC_ALERTS = [rule for rule in GENERIC if "alert" in rule]


def test_a_service_has_at_most_six_alerts_and_four_kilobytes_of_rules() -> None:
    groups = service_groups(namespace="team-a", name="chat", promise=MONTH, classes=CLASSES)
    assert len(_rules()) <= 6
    assert len(yaml.safe_dump(rule_file(groups), sort_keys=False, width=1000)) <= 4096


def test_the_constants_of_99_percent_over_28_days_stand_in_the_rules() -> None:
    fast, slow, trend, _ = (rule["expr"] for rule in _rules(classes=CLASSES[:1]))
    ours = '{namespace="team-a",llmservice="chat"}'
    requests = f"last_over_time(llmservice:andante_slo_requests:count28d{ours}[15m])"
    assert fast.splitlines() == [
        f"llmservice:andante_slo_bad:count1h{ours} >= 4.5",
        f"and llmservice:andante_slo_bad:count1h{ours} > 0.0001 * {requests}",
        f"and llmservice:andante_slo_bad:ratio1h{ours} > 0.06",
        f"and llmservice:andante_slo_bad:ratio5m{ours} > 0.06",
    ]
    assert "> 0.00025 * last_over_time" in slow
    assert "ratio6h" in slow
    assert "ratio30m" in slow
    assert trend.count("> 0.01\n") == 1
    assert trend.endswith("> 0.01")


def test_the_budget_of_another_window_is_its_part_of_the_28_days_that_are_recorded() -> None:
    fast = _rules(promise=Promise(good_fraction=0.99, window=14 * DAY))[0]["expr"]
    assert "> 0.00005 * last_over_time(llmservice:andante_slo_requests:count28d" in fast


def test_a_window_below_a_week_counts_the_engines_counters_itself() -> None:
    fast, spent = _rules(promise=Promise(good_fraction=0.99, window=2 * DAY))
    assert (fast["alert"], spent["alert"]) == ("AndanteQoEBudgetBurnFast", "AndanteQoEBudgetSpent")
    assert "andante_requests_scored_total" in fast["expr"]
    assert "[6171s]" in fast["expr"]
    assert ":count1h" not in fast["expr"]


@pytest.mark.parametrize(
    ("promise", "classes", "said"),
    [
        (Promise(good_fraction=0.99, window=12 * HOUR), CLASSES, "below a day"),
        (Promise(good_fraction=1, window=28 * DAY), CLASSES, "goodFraction is 1"),
        (MONTH, (PRESETS["batch"],), "batch"),
    ],
)
def test_without_alerts_it_is_said_why(promise: Promise, classes: tuple[QoEClass, ...], said: str) -> None:
    assert _rules(promise, classes) == []
    assert said in (why_no_alerts(promise, classes) or "")


def test_only_a_service_with_several_counted_classes_looks_at_each() -> None:
    one = [PRESETS["reading"], PRESETS["batch"]]
    assert "llmservice_class:" not in str(_rules(classes=tuple(one)))
    assert "llmservice_class:" in str(_rules())


@pytest.mark.parametrize("rule", [*_rules(), *GENERIC_ALERTS], ids=lambda rule: str(rule["alert"]))
def test_an_alert_says_how_urgent_it_is_and_where_its_runbook_lies(rule: dict[str, Any]) -> None:
    severity = rule["labels"]["severity"]
    assert severity in ("critical", "warning")
    assert rule.get("keep_firing_for") == ("10m" if severity == "critical" else None)
    assert set(rule["labels"]) == {"severity", "tier"}
    assert "{{" not in str(rule["labels"]), "a value that changes would be an alert of its own"
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == LINK.replace("{alert}", rule["alert"])


def test_without_an_address_the_command_stands_in_place_of_the_link() -> None:
    groups = service_groups(namespace="a", name="b", promise=MONTH, classes=CLASSES)
    assert groups[0]["rules"][0]["annotations"]["runbook"] == "andante runbook AndanteQoEBudgetBurnFast"


def test_no_rule_reads_a_series_of_a_histogram() -> None:
    """A Prometheus that keeps native histograms does not have these series."""
    short = Promise(good_fraction=0.99, window=2 * DAY)
    replayed = replayed_rules(namespace="a", name="b", promise=MONTH, classes=CLASSES, requests=1000)
    rules = [*GENERIC, *_rules(), *_rules(promise=short), *replayed]
    histograms = {series for family in metric_families() if family.kind == "histogram" for series in family.series}
    read = {selector.name for rule in rules for selector in selectors(rule["expr"])}
    assert metric_names.SCORED_REQUESTS in read
    assert read.isdisjoint(histograms)


def test_every_alert_is_listed_once() -> None:
    assert sorted(ALERTS) == sorted({rule["alert"] for rule in [*_rules(), *GENERIC_ALERTS]})


def test_tiers_that_page_have_names_and_labels_of_their_own() -> None:
    labels = [(rule["alert"], rule["labels"]["tier"]) for rule in _rules()]
    assert len(set(labels)) == len(labels)


def _skeleton(expression: str) -> str:
    """Without what stands in strings; a string that is not closed stays visible."""
    return re.sub(r'"(?:[^"\\\n]|\\.)*"', '""', expression)


@given(namespace=st.text(max_size=20), name=st.text(max_size=20))
def test_no_name_breaks_out_of_its_string_or_reaches_a_template(namespace: str, name: str) -> None:
    for hostile, plain in zip(_rules(namespace=namespace, name=name), _rules(), strict=True):
        assert _skeleton(hostile["expr"]) == _skeleton(plain["expr"])
        assert (hostile["labels"], hostile["annotations"]) == (plain["labels"], plain["annotations"])


@given(st.text())
def test_a_quoted_text_is_one_line_and_reads_as_itself(text: str) -> None:
    written = quoted(text)
    assert written.isprintable()
    assert re.fullmatch(r'"(?:[^"\\\n]|\\["\\]|\\u[0-9a-f]{4}|\\U[0-9a-f]{8})*"', written)
    read = re.sub(r"\\U([0-9a-f]{8})|\\u([0-9a-f]{4})", lambda m: chr(int(m[1] or m[2], 16)), written[1:-1])
    if "\\" not in text:
        assert read.replace('\\"', '"') == text


def test_an_engine_s_class_name_is_data_and_no_part_of_a_rule() -> None:
    hostile = QoEClass(name='x"} or vector(1) {{ printf "%s" }}', expected_ttft=1, pace=5)
    assert _rules(classes=(hostile, PRESETS["voice"])) == _rules()
