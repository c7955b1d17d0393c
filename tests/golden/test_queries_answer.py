"""Every query of dashboards, runbooks and pages has an answer in a real Prometheus that holds what Andante exports."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping

import pytest
import requests
from hack.dashboards.files import dashboards
from hack.docs import markdown
from hack.metrics_reference import QUERIES
from prometheus_client import Metric

from exported_metrics import engine, grown, operator
from metric_stores import Sample, filled

SECONDS, STEP = 600, 15
END = float(int(time.time()) - 3600)
SERVICES = ("chat", "code")
ONLY_IN_A_FAULT = ("Engines that hang",)
"""Of queries that answer in a fault alone: what they are for. They must still be valid."""


def _lines(metric: Metric, labels: Mapping[str, str]) -> Iterator[Sample]:
    """What only grows, grows by one a scrape; gauges stay."""
    for sample in metric.samples:
        if sample.name.endswith("_created"):
            continue
        named = {**labels, **sample.labels}
        text = ",".join(f"{name}={json.dumps(value)}" for name, value in named.items())
        for scrape in range(0, SECONDS + 1, STEP):
            value = grown(metric, sample, scrapes=scrape / STEP)
            yield END - SECONDS + scrape, f"{sample.name}{{{text}}} {value}"


def _samples() -> Iterator[Sample]:
    for service in SERVICES:
        for number in (1, 2):
            labels = {"namespace": "team", "llmservice": service, "pod": f"{service}-{number}", "job": "team/engines"}
            for metric in engine(active=number == 1):
                yield from _lines(metric, labels)
    for metric in operator():
        own = {"job": "andante-system/andante-operator", "pod": "andante-operator-1"}
        named = (
            {} if any("namespace" in sample.labels for sample in metric.samples) else {"namespace": "andante-system"}
        )
        yield from _lines(metric, {**own, **named})
    alert = {"alertname": "AndanteQoEBudgetBurnFast", "alertstate": "firing", "severity": "critical"}
    made = {"ALERTS": alert, "up": {"job": "team/engines"}, "llmservice:andante_slo_requests:count28d": {}}
    for name, labels in made.items():
        metric = Metric(name, "", "gauge")
        metric.add_sample(name, {"namespace": "team", "llmservice": "chat", **labels}, 1.0)
        yield from _lines(metric, {})


def _queries() -> Iterator[tuple[str, str]]:
    for text in dashboards().values():
        board = json.loads(text)
        for panel in board["panels"]:
            for target in panel.get("targets", ()):
                yield f"{board['title']}: {panel['title']} {target['refId']}", target["expr"]
        for annotation in board.get("annotations", {}).get("list", ()):
            yield f"{board['title']}: {annotation['name']}", annotation["expr"]
    for query in QUERIES.split("\n\n"):
        yield f"metrics: {query[2:].splitlines()[0]}", query
    for page in markdown.pages():
        for block in page.blocks:
            if block.language == "promql" and not page.path.endswith("reference/metrics.md"):
                yield f"{page.path}:{block.line}", block.text


ASKED = sorted(_queries())


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with filled("prometheus 2", tmp_path_factory.mktemp("store"), list(_samples())) as url:
        yield url


@pytest.mark.parametrize(("where", "query"), ASKED, ids=[where for where, _ in ASKED])
def test_a_query_has_an_answer(store: str, where: str, query: str) -> None:
    filled_in = query.replace("$__rate_interval", "1m").replace("NAMESPACE", "team").replace("LLMSERVICE", "chat")
    filled_in = re.sub(r"\$(namespace|llmservice)", ".+", filled_in)
    found = requests.get(f"{store}/api/v1/query", params={"query": filled_in, "time": str(END)}, timeout=60).json()
    assert found["status"] == "success", found
    is_for_a_fault = any(purpose in where for purpose in ONLY_IN_A_FAULT) or where.endswith("Scaling decisions")
    assert bool(found["data"]["result"]) or is_for_a_fault
