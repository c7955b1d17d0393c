"""Pods that are read from Prometheus: a query that fails or comes late costs the namespaces that it was for."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families

from andante.adapters import prometheus
from andante.adapters.prometheus import PrometheusSource
from andante.app.scaling.pod_history import VISIBLE_TOKENS
from andante.domain import metric_names
from andante.ports import PodAddress, PodSample, Unread
from small_server import serving
from unit.test_exposition import TEXT

Answers = Callable[[str, str], "list[dict[str, Any]] | int"]
"""From the query and its namespaces to rows, or an HTTP status."""


def _rows(query: str, namespaces: str) -> list[dict[str, Any]]:
    """What Prometheus would say, had it scraped the pod a of each namespace at 100."""
    found = []
    for namespace in namespaces.split("|"):
        where = {"namespace": namespace, "pod": "a"}
        if "timestamp" in query:
            found.append({"metric": where, "value": [101.0, "100"]})
            continue
        for family in text_string_to_metric_families(TEXT):
            for sample in family.samples:
                if sample.labels.get("kind", "visible") == "visible":
                    metric = {**sample.labels, **where, "__name__": sample.name}
                    found.append({"metric": metric, "value": [101.0, str(sample.value)]})
    return found


@contextmanager
def _server(answers: Answers = _rows) -> Iterator[tuple[str, list[str]]]:
    """A server that speaks Prometheus' HTTP API; its URL, and the namespaces of each query."""
    asked: list[str] = []

    def answer(path: str) -> tuple[int, str, bytes]:
        query = parse_qs(urlsplit(path).query)["query"][0]
        (namespaces,) = re.findall(r'namespace=~"([^"]*)"', query)
        asked.append(namespaces)
        found = answers(query, namespaces)
        body = {"status": "success", "data": {"resultType": "vector", "result": found}}
        return found if isinstance(found, int) else 200, "application/json", json.dumps(body).encode()

    with serving(answer) as port:
        yield f"http://127.0.0.1:{port}", asked


def _pods(*namespaces: str) -> list[PodAddress]:
    return [PodAddress(namespace=namespace, name="a", ip="10.0.0.1", port=8000) for namespace in namespaces]


def _read(url: str, pods: list[PodAddress], *, whole: float = 20.0) -> Any:
    return asyncio.run(PrometheusSource(url=url, timeout_seconds=10.0, round_seconds=whole).read(pods))


def test_a_pod_is_read_as_of_its_newest_sample() -> None:
    with _server() as (url, _):
        sample = _read(url, _pods("team"))["team", "a"]
    assert isinstance(sample, PodSample)
    assert sample.at == 100.0
    assert (sample.counters[metric_names.REQUESTS], sample.counters[VISIBLE_TOKENS]) == (9.0, 500.0)


def test_queries_name_the_namespaces_that_they_are_for_and_stay_short() -> None:
    names = [f"team-{number:03d}" for number in range(prometheus.SHARD_NAMESPACES + 1)]
    with _server() as (url, asked):
        read = _read(url, _pods(*names))
    assert all(isinstance(read[name, "a"], PodSample) for name in names)
    assert sorted(set(asked)) == ["|".join(names[:-1]), names[-1]]


@pytest.mark.parametrize("fault", [503, 422, "not rows"])
def test_a_query_that_fails_costs_its_namespaces_alone(fault: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus, "SHARD_NAMESPACES", 1)
    with _server(lambda query, namespaces: fault if namespaces == "bad" else _rows(query, namespaces)) as (url, _):
        read = _read(url, _pods("bad", "good"))
    assert isinstance(read["good", "a"], PodSample)
    assert isinstance(read["bad", "a"], Unread)
    assert "Prometheus" in read["bad", "a"].why


def test_a_query_that_comes_late_costs_its_namespaces_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus, "SHARD_NAMESPACES", 1)
    may_answer = threading.Event()

    def answers(query: str, namespaces: str) -> list[dict[str, Any]]:
        if namespaces == "slow":
            may_answer.wait(10)
        return _rows(query, namespaces)

    async def run(url: str) -> Any:
        source = PrometheusSource(url=url, timeout_seconds=10.0, round_seconds=2.0)
        read = await source.read(_pods("slow", "good"))
        may_answer.set()
        return read

    with _server(answers) as (url, _):
        read = asyncio.run(run(url))
    assert isinstance(read["good", "a"], PodSample)
    assert "within the 2 s" in read["slow", "a"].why


def test_a_pod_without_series_says_so() -> None:
    with _server() as (url, _):
        (unread,) = _read(url, [PodAddress(namespace="team", name="b", ip="10.0.0.1", port=8000)]).values()
    assert isinstance(unread, Unread)
    assert "no series" in unread.why


def test_without_pods_nothing_is_asked() -> None:
    with _server() as (url, asked):
        assert _read(url, []) == {}
    assert asked == []
