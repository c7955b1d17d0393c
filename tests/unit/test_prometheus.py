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

from andante.adapters import prometheus_shards
from andante.adapters.exposition import NEEDED
from andante.adapters.prometheus import PrometheusSource
from andante.adapters.told_demand import NAMES as DEMAND
from andante.app.scaling.pod_history import VISIBLE_TOKENS
from andante.domain import metric_names
from andante.ports import PodAddress, PodSample, Unread
from small_server import serving
from unit.test_exposition import TEXT

Answers = Callable[[str, str], "list[dict[str, Any]] | int"]
"""From the query and its namespaces to rows, or an HTTP status."""


def _scrape(query: str, namespaces: str, *, text: str = TEXT, at: float = 100.0, **target: str) -> list[dict[str, Any]]:
    """What Prometheus would say at 101, had it scraped `text` from the pod a of each namespace at `at`."""
    found = []
    for namespace in namespaces.split("|"):
        where = {"job": "engines", "namespace": namespace, "pod": "a", **target}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                name = sample.name
                if name == metric_names.OPEN_REQUESTS:
                    found.append({"metric": {**sample.labels, **where, "kind": "time"}, "value": [101.0, str(at)]})
                if sample.labels.get("kind", "visible") != "prompt":
                    metric = {**sample.labels, **where, "__name__": name}
                    found.append({"metric": metric, "value": [101.0, str(sample.value)]})
    return found


def _rows(query: str, namespaces: str) -> list[dict[str, Any]]:
    return _scrape(query, namespaces)


def _without(name: str) -> str:
    """TEXT as a relabel rule leaves it that drops one name."""
    return "".join(f"{line}\n" for line in TEXT.splitlines() if not line.startswith(name + "{"))


class _Asked(list[str]):
    """The namespaces of each query."""

    def __init__(self) -> None:
        super().__init__()
        self.parameters: list[dict[str, list[str]]] = []


@contextmanager
def _server(answers: Answers = _rows) -> Iterator[tuple[str, _Asked]]:
    """A server that speaks Prometheus' HTTP API; its URL, and what it was asked."""
    asked = _Asked()

    def answer(path: str) -> tuple[int, str, bytes]:
        asked.parameters.append(parse_qs(urlsplit(path).query))
        query = asked.parameters[-1]["query"][0]
        (namespaces,) = set(re.findall(r'namespace=~"([^"]*)"', query))
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
    assert sample.generated == 900.0  # vLLM's own series have a label more, and are of the same scrape


def test_queries_name_the_namespaces_that_they_are_for_and_stay_short() -> None:
    names = [f"team-{number:03d}" for number in range(prometheus_shards.SHARD_NAMES + 1)]
    with _server() as (url, asked):
        read = _read(url, _pods(*names))
    assert all(isinstance(read[name, "a"], PodSample) for name in names)
    assert sorted(set(asked)) == ["|".join(names[:-1]), names[-1]]


def test_a_large_namespace_is_asked_for_by_deployments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus_shards, "SHARD_PODS", 4)
    names = [f"{service}-5f7d-{pod}" for service in ("chat", "chat-b", "code") for pod in ("a", "b")]
    pods = [PodAddress(namespace="large", name=name, ip="10.0.0.1", port=8000) for name in names]

    def answers(query: str, namespaces: str) -> list[dict[str, Any]]:
        (asked_for,) = set(re.findall(r'pod=~"([^"]*)"', query)) or {".*"}
        found = names if namespaces == "large" else ["a"]
        matching = [name for name in found if re.fullmatch(asked_for, name)]
        return [row for name in matching for row in _scrape(query, namespaces, pod=name)]

    with _server(answers) as (url, asked):
        read = _read(url, [*pods, *_pods("small")])
        queries = sorted(parameters["query"][0] for parameters in asked.parameters)
    assert len(read) == 7
    assert all(isinstance(answer, PodSample) for answer in read.values())
    assert [re.findall(r'pod=~"([^"]*)"', query) for query in queries] == [
        ["(chat|chat-b)-.+"] * 2,
        ["(code)-.+"] * 2,
        [],
    ]


@pytest.mark.parametrize("fault", [503, 422, "not rows"])
def test_a_query_that_fails_costs_its_namespaces_alone(fault: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus_shards, "SHARD_NAMES", 1)
    with _server(lambda query, namespaces: fault if namespaces == "bad" else _rows(query, namespaces)) as (url, _):
        read = _read(url, _pods("bad", "good"))
    assert isinstance(read["good", "a"], PodSample)
    assert isinstance(read["bad", "a"], Unread)
    assert "Prometheus" in read["bad", "a"].why


def test_a_query_that_comes_late_costs_its_namespaces_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus_shards, "SHARD_NAMES", 1)
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


@pytest.mark.parametrize("name", sorted({name.partition("/")[0] for name in NEEDED}))
def test_a_pod_without_one_of_the_metrics_is_not_measured_and_the_metric_is_named(name: str) -> None:
    with _server(lambda query, namespaces: _scrape(query, namespaces, text=_without(name))) as (url, _):
        unread = _read(url, _pods("team"))["team", "a"]
    assert isinstance(unread, Unread)
    assert f"no metric {name}" in unread.why
    assert "a relabel rule of job 'engines' may drop it" in unread.why


def test_a_counter_that_is_a_histogram_costs_its_pod_alone() -> None:
    """A tenant's pod may give any kind to any name, and Prometheus may keep native histograms."""

    def answers(query: str, namespaces: str) -> list[dict[str, Any]]:
        rows = _scrape(query, "good", text=TEXT)
        odd = _scrape(query, "odd", text=_without(metric_names.SCORED_REQUESTS))
        metric = {**odd[0]["metric"], "__name__": metric_names.SCORED_REQUESTS}
        return [*rows, *odd, {"metric": metric, "histogram": [101.0, {"count": "7", "sum": "6.5", "buckets": []}]}]

    with _server(answers) as (url, _):
        read = _read(url, _pods("good", "odd"))
    assert isinstance(read["good", "a"], PodSample)
    assert f"no metric {metric_names.SCORED_REQUESTS}" in read["odd", "a"].why


@pytest.mark.parametrize("label", ["job", "endpoint", "prometheus_replica", "any_other_label"])
def test_a_pod_that_is_scraped_twice_counts_once(label: str) -> None:
    def answers(query: str, namespaces: str) -> list[dict[str, Any]]:
        twice = [_scrape(query, namespaces, at=at, **{label: name}) for name, at in (("one", 93.0), ("two", 100.0))]
        return [*twice[0], *twice[1]]

    with _server(answers) as (url, _):
        sample = _read(url, _pods("team"))["team", "a"]
    assert (sample.at, sample.counters[metric_names.REQUESTS], sample.open_requests) == (100.0, 9.0, 4.0)


def test_the_demand_of_a_pod_that_is_scraped_twice_counts_once() -> None:
    def answers(query: str, namespaces: str) -> list[dict[str, Any]]:
        return [row for job in ("one", "two") for row in _scrape(query, namespaces, job=job)]

    with _server(answers) as (url, _):
        sample = _read(url, _pods("team"))["team", "a"]
    assert (sample.arrived, sample.waiting) == ((14.0, 2800.0), (3.0, 650.0))
    assert sample.capacity.kv_tokens == 400_000
    assert sample.capacity.fitted


def test_a_pod_without_the_metrics_of_demand_is_measured_all_the_same() -> None:
    older = "".join(f"{line}\n" for line in TEXT.splitlines() if not line.startswith(tuple(DEMAND)))
    with _server(lambda query, namespaces: _scrape(query, namespaces, text=older)) as (url, _):
        sample = _read(url, _pods("team"))["team", "a"]
    assert isinstance(sample, PodSample)
    assert (sample.arrived, sample.waiting, sample.capacity) == (None, None, None)


def test_a_pod_is_read_from_the_same_scrape_until_that_one_stops() -> None:
    """Each round: the times of the newest samples of the jobs one and two."""
    rounds = [(100.0, 99.0), (100.0, 114.0), (130.0, 129.0), (130.0, 219.0), (130.0, 221.0), (None, 236.0)]
    now: list[float | None] = []

    def answers(query: str, namespaces: str) -> list[dict[str, Any]]:
        jobs = zip(("one", "two"), now, strict=True)
        return [row for job, at in jobs if at for row in _scrape(query, namespaces, at=at, job=job)]

    async def jobs(url: str) -> list[str]:
        source = PrometheusSource(url=url, timeout_seconds=10.0, round_seconds=20.0)
        found = []
        for times in rounds:
            now[:] = times
            (sample,) = (await source.read(_pods("team"))).values()
            assert isinstance(sample, PodSample)
            found.append(sample.job)
        return found

    with _server(answers) as (url, _):
        assert asyncio.run(jobs(url)) == ["one", "one", "one", "one", "two", "two"]


def test_a_job_that_stopped_is_named() -> None:
    gone: list[bool] = []

    async def run(url: str) -> Any:
        source = PrometheusSource(url=url, timeout_seconds=10.0, round_seconds=20.0)
        await source.read(_pods("team"))
        gone.append(True)
        return (await source.read(_pods("team")))["team", "a"]

    with _server(lambda query, namespaces: [] if gone else _rows(query, namespaces)) as (url, _):
        unread = asyncio.run(run(url))
    assert unread == Unread(why="Prometheus has no series of this pod any more; the last was of job 'engines'")


def test_times_and_values_are_of_one_answer() -> None:
    """Two queries may be answered by two servers behind one address."""
    with _server() as (url, asked):
        _read(url, _pods("team"))
    assert len(asked) == 1


def test_victoria_metrics_leaves_out_no_more_than_the_last_scrape() -> None:
    with _server() as (url, asked):
        _read(url, _pods("team"))
    assert all(parameters["latency_offset"] == ["5s"] for parameters in asked.parameters)


def test_a_cause_is_logged_once_and_its_end_too(caplog: pytest.LogCaptureFixture) -> None:
    fails = [True, True, False]

    async def run(url: str) -> None:
        source = PrometheusSource(url=url, timeout_seconds=10.0, round_seconds=20.0)
        while fails:
            await source.read(_pods("team", "other"))
            fails.pop(0)

    caplog.set_level("INFO", logger="andante")
    with _server(lambda query, namespaces: 503 if fails[0] else _rows(query, namespaces)) as (url, _):
        asyncio.run(run(url))
    failed, again = (record.message for record in caplog.records)
    assert f"Prometheus at {url}: HTTP 503" in failed
    assert again == "Prometheus answers again"
