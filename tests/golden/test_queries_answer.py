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
from prometheus_client.metrics import MetricWrapperBase

from andante.adapters.own_metrics import OwnMetrics
from andante.app.status.figures import ServiceFigures
from andante.domain.deficit_cause import Cause, DeficitByCause
from andante.domain.request_meter import Objective
from andante.domain.slo.promise import DAY, Promise
from andante_vllm.meter_metrics import MeterMetrics, OpenRequests
from andante_vllm.scheduler_metrics import SchedulerMetrics
from metric_stores import Sample, filled

SECONDS, STEP = 600, 15
END = float(int(time.time()) - 3600)
SERVICES = ("chat", "code")
ONLY_IN_A_FAULT = ("Engines that hang",)
"""Of queries that answer in a fault alone: what they are for. They must still be valid."""
OTHERS = {
    "vllm:generation_tokens_total": "counter",
    "vllm:prompt_tokens_total": "counter",
    "vllm:num_requests_running": "gauge",
    "vllm:num_requests_waiting": "gauge",
    "vllm:kv_cache_usage_perc": "gauge",
}


def _engine(*, active: bool) -> Iterator[Metric]:
    """What an engine exports, a class each for people and for a program."""
    meter, scheduler = (
        MeterMetrics(model_name="m", objective=Objective()),
        SchedulerMetrics(model_name="m", policy="qoe"),
    )
    lacks = DeficitByCause(load=0.5, idle=0.25)
    for name in ("chat", "agent"):
        meter.show_class(name)
    meter.set_open({name: OpenRequests(requests=4, qoe_sum=3.0, deficit=lacks, bad=1) for name in ("chat", "agent")})
    meter.connection_ended("age")
    meter.set_settings_valid(True)
    meter.set_step_time_fitted(True)
    scheduler.set_active(active, "policy" if active else "policy failed: x")
    for value in vars(meter).values():
        if isinstance(value, MetricWrapperBase):
            yield from value.collect()
    yield from scheduler.registry.collect()
    for name, kind in OTHERS.items():
        metric = Metric(name.removesuffix("_total"), "", kind)
        metric.add_sample(name, {"model_name": "m"}, 0.5)
        yield metric


def _figures(name: str, *, well: bool) -> ServiceFigures:
    condition = ("Degraded", "False", "AsWanted") if well else ("Degraded", "True", "CrashLoop")
    return ServiceFigures(
        namespace="team",
        name=name,
        desired=2,
        ready=2 if well else 1,
        starting=0,
        draining=0,
        metrics_state="observed" if well else "missing",
        mean_qoe=0.9,
        deficit=dict.fromkeys(Cause, 0.1),
        good_fraction=0.95,
        smooth_goodput=100.0,
        conditions=[condition],
        promise=Promise(good_fraction=0.99, window=28 * DAY),
        budget_remaining=0.5 if well else -1.0,
        decisions={"QoEDeficit": 1},
    )


def _operator() -> Iterator[Metric]:
    own = OwnMetrics()
    own.services(lambda: [_figures("chat", well=True), _figures("code", well=False)])
    own.api_call("get", "Pod")
    own.fault("tick")
    own.rollouts(rolling=1, waiting=0)
    own.held(["Pod"], lambda kind: 4, lambda: 2)
    yield from own.registry.collect()


def _lines(metric: Metric, labels: Mapping[str, str]) -> Iterator[Sample]:
    """What only grows, grows by one a scrape; gauges stay."""
    for sample in metric.samples:
        if sample.name.endswith("_created"):
            continue
        named = {**labels, **sample.labels}
        text = ",".join(f"{name}={json.dumps(value)}" for name, value in named.items())
        grows = metric.type in ("counter", "histogram")
        low = sample.name.endswith("_bucket") and float(sample.labels["le"]) < 0.5
        for scrape in range(0, SECONDS + 1, STEP):
            value = (0 if low else 100 + scrape / STEP) if grows else sample.value
            yield END - SECONDS + scrape, f"{sample.name}{{{text}}} {value}"


def _samples() -> Iterator[Sample]:
    for service in SERVICES:
        for number in (1, 2):
            labels = {"namespace": "team", "llmservice": service, "pod": f"{service}-{number}", "job": "team/engines"}
            for metric in _engine(active=number == 1):
                yield from _lines(metric, labels)
    for metric in _operator():
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
