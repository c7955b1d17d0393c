"""The chart's dashboards: they read what exists, and each panel says what it shows, in which unit."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hack.dashboards.files import FOLDER, dashboards
from hack.metric_families import metric_families
from hack.promql import grouping, selectors

BOARDS = {path.stem: json.loads(text) for path, text in dashboards().items()}
LABELS = {series: {*family.labels} for family in metric_families() for series in family.series}
HISTOGRAMS = {
    series: family.name for family in metric_families() if family.kind == "histogram" for series in family.series
}
TARGET = {"namespace", "pod", "llmservice", "le", "job"}
"""Labels that a scrape adds, and `le` of a histogram."""
VLLM = {
    "vllm:generation_tokens_total",
    "vllm:kv_cache_usage_perc",
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
}
ALERTS = {"ALERTS": {"alertname", "alertstate"}}
"""Prometheus' own series of alerts that fire, with the labels that a query may name."""
PROCESS = {"process_resident_memory_bytes", "process_cpu_seconds_total"}


def _panels() -> list[tuple[str, dict[str, Any]]]:
    return [(uid, panel) for uid, board in BOARDS.items() for panel in board["panels"] if panel["type"] != "row"]


def _expressions() -> Iterator[tuple[str, str]]:
    for uid, panel in _panels():
        for target in panel["targets"]:
            yield f"{uid}: {panel['title']}", target["expr"]
    for uid, board in BOARDS.items():
        for annotation in board.get("annotations", {}).get("list", ()):
            yield f"{uid}: {annotation['name']}", annotation["expr"]


EXPRESSIONS = sorted(set(_expressions()))


def test_no_file_outlives_its_dashboard() -> None:
    assert set(FOLDER.glob("*.json")) == dashboards().keys()


@pytest.mark.parametrize(("where", "expression"), EXPRESSIONS, ids=[where for where, _ in EXPRESSIONS])
def test_a_query_reads_metrics_and_labels_that_exist(where: str, expression: str) -> None:
    found = selectors(expression)
    assert found
    assert {s.name for s in found} <= LABELS.keys() | VLLM | PROCESS | ALERTS.keys()
    labels = TARGET.union(*(LABELS.get(s.name, set()) for s in found))
    assert grouping(expression) <= labels
    for selector in found:
        assert selector.labels <= {**LABELS, **ALERTS}.get(selector.name, set()) | TARGET


@pytest.mark.parametrize(("where", "expression"), EXPRESSIONS, ids=[where for where, _ in EXPRESSIONS])
def test_a_histogram_is_read_in_both_forms_that_a_prometheus_may_keep(where: str, expression: str) -> None:
    read = {selector.name for selector in selectors(expression)} & HISTOGRAMS.keys()
    assert read <= {name for name, family in HISTOGRAMS.items() if name in (family, f"{family}_bucket")}
    assert {HISTOGRAMS[name] for name in read if name.endswith("_bucket")} == read & set(HISTOGRAMS.values())


@pytest.mark.parametrize(("uid", "panel"), _panels(), ids=[f"{uid}: {panel['title']}" for uid, panel in _panels()])
def test_a_panel_says_what_it_shows(uid: str, panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    if panel["type"] == "timeseries":  # a window of its own is too short for one scrape interval, or too long to zoom
        windows = {w for target in panel["targets"] for w in re.findall(r"\[([^\]]+)\]", target["expr"])}
        assert windows <= {"$__rate_interval"}


@pytest.mark.parametrize("uid", BOARDS)
def test_links_to_dashboards_and_panels_last(uid: str) -> None:
    board = BOARDS[uid]
    assert board["uid"] == uid
    assert [panel["id"] for panel in board["panels"]] == list(range(1, len(board["panels"]) + 1))


@pytest.mark.parametrize("uid", BOARDS)
def test_one_dashboard_serves_all_services_and_data_sources(uid: str) -> None:
    names = [variable["name"] for variable in BOARDS[uid]["templating"]["list"]]
    chosen = [expression for where, expression in EXPRESSIONS if where.startswith(f"{uid}:")]
    if uid == "andante-operator":
        assert names == ["datasource"]
        return
    assert names == ["datasource", "namespace", "llmservice"]
    for expression in chosen:
        assert 'namespace=~"$namespace"' in expression
        assert 'llmservice=~"$llmservice"' in expression
