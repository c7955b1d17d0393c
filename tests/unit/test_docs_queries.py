"""The queries of the page of metrics: each is PromQL, and every metric and label in it exists."""

from __future__ import annotations

import pytest
from hack.metric_families import MetricFamily, metric_families
from hack.metrics_reference import QUERIES, alerts_by_metric, unit
from hack.promql import grouping, selectors

from andante.domain.slo.rules import ALERTS

SERIES = {series: family for family in metric_families() for series in family.series}
TARGET = {"namespace", "pod", "llmservice", "le"}
"""Labels that every series of an engine gets when it is scraped, and `le` of a histogram."""


def test_the_parser_finds_every_series_and_label() -> None:
    query = 'sum by (pod) (rate(one{a="b"}[$__rate_interval])) / on (node) max_over_time(two[1d:1m]) > topk(3, -three)'
    assert [(s.name, set(s.labels)) for s in selectors(query)] == [("one", {"a"}), ("two", set()), ("three", set())]
    assert grouping(query) == {"pod", "node"}
    with pytest.raises(ValueError, match="unclosed left parenthesis"):
        selectors("sum by (")


@pytest.mark.parametrize("query", QUERIES.split("\n\n"), ids=lambda query: query[2:42])
def test_a_query_reads_what_exists(query: str) -> None:
    found = selectors(query)
    assert found
    assert {s.name for s in found} <= SERIES.keys()
    labels = {label for s in found for label in SERIES[s.name].labels} | TARGET
    assert grouping(query) <= labels
    for selector in found:
        assert selector.labels <= {*SERIES[selector.name].labels, *TARGET}


@pytest.mark.parametrize("family", metric_families(), ids=lambda family: family.name)
def test_every_metric_has_a_unit(family: MetricFamily) -> None:
    assert unit(family)


def test_the_page_names_the_alerts_that_read_a_metric_through_what_is_recorded() -> None:
    found = alerts_by_metric()
    assert "AndanteQoEBudgetBurnSlow" in found["andante_requests_good_total"]  # by the records of five minutes
    assert found["andante_scheduler_recomputed_tokens_total"] == ("AndantePreemptionBill",)
    assert "andante_ttft_seconds_bucket" not in found


def test_every_alert_reads_a_metric_that_exists_and_nothing_that_is_not_recorded() -> None:
    others = {"vllm:generation_tokens_total", "vllm:prompt_tokens_total", "ALERTS"}
    assert alerts_by_metric().keys() <= SERIES.keys() | others
    assert {alert for alerts in alerts_by_metric().values() for alert in alerts} == set(ALERTS)
