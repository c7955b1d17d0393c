"""Alerts and percentiles in a real Prometheus that keeps native histograms, and no series of classic ones."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import requests
import yaml
from hack.dashboards.files import dashboards
from prometheus_client import Metric, generate_latest

from alerts.promtool import groups_of
from alerts.scenario import SERVICES
from andante.domain import metric_names
from andante.domain.slo.alerts import BURN_FAST
from andante.domain.slo.fleet_alerts import METRICS_MISSING, METRICS_PARTIAL, OPERATOR_DOWN, fleet_group
from andante.domain.slo.recording import recording_groups
from andante.domain.slo.rules import rule_file
from exported_metrics import engine, grown, operator
from metric_stores import prometheus
from operator_process import wait_for
from small_server import serving

PERCENTILES = [
    (f"{board['title']}: {panel['title']}", target["expr"])
    for board in map(json.loads, dashboards().values())
    for panel in board["panels"]
    for target in panel.get("targets", ())
    if "histogram_quantile" in target["expr"]
]


class _Shown:
    """A page of metrics whose counters grow each second. No request is good."""

    def __init__(self, metrics: Iterable[Metric], *, seconds: float) -> None:
        self._metrics, self._seconds = metrics, seconds

    def collect(self) -> Iterator[Metric]:
        for metric in self._metrics:
            metric.samples = [
                sample._replace(
                    value=0.0
                    if sample.name == metric_names.GOOD_REQUESTS
                    else grown(metric, sample, scrapes=self._seconds)
                )
                for sample in metric.samples
            ]
            yield metric


def _job(name: str, port: int, **labels: str) -> dict[str, Any]:
    return {
        "job_name": name,
        "metrics_path": f"/{name}",
        "scrape_interval": "1s",
        "scrape_timeout": "1s",
        "honor_labels": True,
        "convert_classic_histograms_to_nhcb": True,
        "static_configs": [{"targets": [f"127.0.0.1:{port}"], "labels": labels}],
    }


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus that scrapes an engine in an outage, and the operator, each second, and evaluates the rules."""
    folder, begin = tmp_path_factory.mktemp("prometheus"), time.monotonic()

    def page(path: str) -> tuple[int, str, bytes]:
        metrics = operator() if "operator" in path else engine(active=True)
        shown = _Shown(metrics, seconds=time.monotonic() - begin)
        return 200, "text/plain; version=0.0.4", generate_latest(shown)

    service = next(iter(SERVICES))
    groups = [*recording_groups(), *groups_of(service), fleet_group()]
    (folder / "rules.yaml").write_text(yaml.safe_dump(rule_file({**group, "interval": "1s"} for group in groups)))
    with serving(page) as port:
        jobs = [_job("engines", port, namespace="team", llmservice=service, pod="chat-1")]
        jobs.append(_job("andante-operator", port, namespace="andante-system"))
        config = {"rule_files": ["rules.yaml"], "scrape_configs": jobs}
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
        with prometheus("prometheus 3", folder, "--enable-feature=native-histograms") as url:
            yield url


def _ask(url: str, query: str) -> list[Any]:
    answer = requests.get(f"{url}/api/v1/query", params={"query": query}, timeout=30).json()
    assert answer["status"] == "success", answer
    found: list[Any] = answer["data"]["result"]
    return found


def _wait(url: str, query: str) -> None:
    wait_for(query, lambda: bool(_ask(url, query)))


def test_an_outage_pages(store: str) -> None:
    _wait(store, f'ALERTS{{alertname="{BURN_FAST}",alertstate="firing"}}')
    assert _ask(store, "andante_ttft_seconds")
    assert _ask(store, '{__name__=~"andante_.+_(bucket|sum|count)"}') == []


@pytest.mark.parametrize("alert", [OPERATOR_DOWN, METRICS_MISSING, METRICS_PARTIAL])
def test_nothing_is_taken_for_missing(store: str, alert: str) -> None:
    (expression,) = (rule["expr"] for rule in fleet_group()["rules"] if rule["alert"] == alert)
    for name in (metric_names.OPERATOR_TICKS, metric_names.SCORED_REQUESTS):
        _wait(store, f"rate({name}[1m])")
    # Another service of the operator's figures has no engine here.
    assert [row for row in _ask(store, expression) if row["metric"].get("llmservice") == "s99"] == []
    assert alert != OPERATOR_DOWN or _ask(store, expression) == []


@pytest.mark.parametrize(("where", "query"), PERCENTILES, ids=[where for where, _ in PERCENTILES])
def test_percentiles_have_samples(store: str, where: str, query: str) -> None:
    for name, value in (("$__rate_interval", "1m"), ("$namespace", ".+"), ("$llmservice", ".+")):
        query = query.replace(name, value)
    _wait(store, query)
