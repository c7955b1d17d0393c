"""The queries of the page of metrics: each is PromQL, and every metric and label in it exists."""

from __future__ import annotations

import pytest
from hack.metric_families import MetricFamily, metric_families
from hack.metrics_reference import QUERIES, unit

from promql_names import grouping, selectors

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
