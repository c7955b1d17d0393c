"""The queries, by real stores of metrics that have scraped pods."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import yaml
from hack.localcluster.pki import Authority

from andante.adapters.exposition import NEEDED, WANTED, sample_of
from andante.adapters.exposition_lines import WantedLines
from andante.adapters.prometheus import PrometheusSource
from andante.api.v1alpha1 import LLMService
from andante.app.children import POD_MONITOR, render
from andante.app.settings import OperatorSettings, PrometheusSettings
from andante.ports import PodAddress, PodSample, Unread
from debian_programs import program
from metric_stores import prometheus, victoria_metrics
from operator_process import wait_for
from small_server import serving
from unit.test_exposition import TEXT

PODS = [("team-a", "one"), ("team-a", "two"), ("team-b", "one")]
NAMES = sorted({name.partition("/")[0] for name in NEEDED})
"""Each is dropped by a relabel rule, for a pod of the same name."""
PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "prometheus.md"
PASSWORD = "a password: with spaces"

_HISTOGRAM = """\
# TYPE andante_request_qoe histogram
andante_request_qoe_bucket{le="0.9",model_name="chat",qoe_class="reading"} 1.0
andante_request_qoe_bucket{le="+Inf",model_name="chat",qoe_class="reading"} 7.0
andante_request_qoe_sum{model_name="chat",qoe_class="reading"} 6.5
andante_request_qoe_count{model_name="chat",qoe_class="reading"} 7.0
"""


def _text() -> str:
    """TEXT with a whole histogram and its type: a store that changes its form needs both."""
    return "".join(f"{line}\n" for line in TEXT.splitlines() if "_bucket" not in line) + _HISTOGRAM


def _jobs(port: int, **more: Any) -> list[dict[str, Any]]:
    """A job for each pod, and one for each name whose series a rule drops."""
    dropped = [("dropped", name) for name in NAMES]
    return [
        {
            "job_name": f"{namespace}-{pod}",
            "scrape_interval": "1s",
            "scrape_timeout": "1s",
            "metrics_path": f"/{namespace}/{pod}",
            "static_configs": [{"targets": [f"127.0.0.1:{port}"], "labels": {"namespace": namespace, "pod": pod}}],
            "metric_relabel_configs": [
                {"action": "drop", "source_labels": ["__name__"], "regex": pod if namespace == "dropped" else "none"}
            ],
            **more,
        }
        for namespace, pod in (*PODS, *dropped)
    ] + [_pod_monitor_job(port) | more, _documented_job(port) | more]


def _pod_monitor_job(port: int) -> dict[str, Any]:
    """The job that a Prometheus Operator makes of a service's PodMonitor, with its pods as it finds them."""
    wrong = [{"targetLabel": label, "replacement": "other"} for label in ("namespace", "llmservice")]
    monitoring = {"histogramBuckets": False, "relabelings": wrong, "metricRelabelings": wrong}
    raw = {"metadata": {"name": "chat", "namespace": "monitored"}, "spec": {"model": {"id": "m"}}}
    raw["spec"]["monitoring"] = monitoring  # type: ignore[index]
    settings = OperatorSettings(engine_image="e:1", operator_image="o:1")
    children = render(LLMService.parse(raw), settings=settings, replicas=1, installed_crds=[POD_MONITOR.crd])
    (monitor,) = (child for child in children if child["kind"] == "PodMonitor")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]

    def pod(name: str, *, ready: bool) -> dict[str, Any]:
        found = {"name": name, "container_name": "engine", "ready": str(ready).lower()}
        found["label_andante_dev_llmservice"] = "chat"
        labels = {f"__meta_kubernetes_pod_{key}": value for key, value in found.items()}
        return {
            "targets": [f"127.0.0.1:{port}"],
            "labels": {**labels, "__meta_kubernetes_namespace": "monitored", "instance": name},
        }

    return {
        "job_name": "podMonitor/monitored/chat",
        "scrape_interval": "1s",
        "scrape_timeout": "1s",
        "metrics_path": endpoint["path"],
        "relabel_configs": [_snake_case(rule) for rule in endpoint["relabelings"]],
        "metric_relabel_configs": [_snake_case(rule) for rule in endpoint["metricRelabelings"]],
        "static_configs": [pod("serving", ready=True), pod("loading", ready=False)],
    }


def _documented() -> dict[str, Any]:
    """The configuration of docs/how-to/prometheus.md."""
    blocks = re.findall(r"```yaml\n(scrape_configs:.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (found,) = map(yaml.safe_load, blocks)
    assert isinstance(found, dict)
    return found


def _documented_job(port: int) -> dict[str, Any]:
    """Its job, with pods as Kubernetes' service discovery finds them: one is of another application."""
    (job,) = _documented()["scrape_configs"]
    pods = []
    for name, application, ready in (
        ("serving", "andante-engine", "true"),
        ("loading", "andante-engine", "false"),
        ("other", "redis", "true"),
    ):
        found = {"name": name, "container_name": "engine", "container_port_name": "http", "ready": ready}
        found |= {"label_app_kubernetes_io_name": application, "label_andante_dev_llmservice": "chat"}
        labels = {f"__meta_kubernetes_pod_{key}": value for key, value in found.items()}
        labels |= {"__meta_kubernetes_namespace": "documented", "instance": name}
        pods.append({"targets": [f"127.0.0.1:{port}"], "labels": labels})
    found = {key: value for key, value in job.items() if key != "kubernetes_sd_configs"}
    return {**found, "scrape_interval": "1s", "scrape_timeout": "1s", "static_configs": pods}


def _snake_case(rule: Mapping[str, Any]) -> dict[str, Any]:
    return {re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", name): value for name, value in rule.items()}


def _prometheus_2(folder: Path, port: int) -> Iterator[PrometheusSource]:
    (folder / "prometheus.yaml").write_text(yaml.safe_dump({"scrape_configs": _jobs(port)}))
    with prometheus("prometheus 2", folder) as url:
        yield PrometheusSource(url=url, timeout_seconds=10.0, round_seconds=20.0)


def _prometheus_3(folder: Path, port: int) -> Iterator[PrometheusSource]:
    """With native histograms in place of classic ones, below a path, behind a private authority and a login."""
    authority = Authority(folder / "pki")
    authority.ensure()
    pair = authority.issue("server", subject="/CN=prometheus", addresses=["127.0.0.1"])
    jobs = _jobs(port, convert_classic_histograms_to_nhcb=True)
    (folder / "prometheus.yaml").write_text(yaml.safe_dump({"scrape_configs": jobs}))
    users = {"andante": bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()}
    tls = {"cert_file": str(pair.cert), "key_file": str(pair.key)}
    (folder / "web.yaml").write_text(yaml.safe_dump({"tls_server_config": tls, "basic_auth_users": users}))
    (folder / "user").write_text("andante\n")
    (folder / "password").write_text(f"{PASSWORD}\n")
    access = PrometheusSettings(
        ca_file=str(authority.ca.cert), username_file=str(folder / "user"), password_file=str(folder / "password")
    )
    options = [f"--web.config.file={folder / 'web.yaml'}", "--web.route-prefix=/base", "--web.external-url=/base"]
    options.append("--enable-feature=native-histograms")
    with prometheus("prometheus 3", folder, *options, path="/base/", ready="https") as url:
        yield PrometheusSource(url=url, timeout_seconds=10.0, round_seconds=20.0, settings=access)


def _victoria_metrics(folder: Path, port: int) -> Iterator[PrometheusSource]:
    (folder / "scrape.yaml").write_text(yaml.safe_dump({"scrape_configs": _jobs(port)}))
    options = (f"-promscrape.config={folder / 'scrape.yaml'}", "-http.pathPrefix=/vm")
    with victoria_metrics(folder, *options, path="/vm") as url:
        yield PrometheusSource(url=url, timeout_seconds=10.0, round_seconds=20.0)


@pytest.fixture(scope="module", params=[_prometheus_2, _prometheus_3, _victoria_metrics])
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusSource]:
    """Reads from a store that scrapes the pods each second."""
    folder: Path = tmp_path_factory.mktemp("store")
    with serving(lambda path: (200, "text/plain; version=0.0.4", _text().encode())) as port:
        yield from request.param(folder, port)


def _read(source: PrometheusSource, pods: Sequence[tuple[str, str]]) -> dict[tuple[str, str], PodSample | Unread]:
    """What is read once the store has scraped the pods."""
    addresses = [PodAddress(namespace=namespace, name=pod, ip="10.0.0.1", port=8000) for namespace, pod in pods]
    read: dict[tuple[str, str], PodSample | Unread] = {}

    def all_are_there() -> bool:
        read.update(asyncio.run(source.read(addresses)))
        unread = [answer for answer in read.values() if isinstance(answer, Unread)]
        return all("no metric" in answer.why for answer in unread)

    wait_for("the store to have scraped every pod", all_are_there, told=lambda: str(read))
    return read


def test_pods_are_read_as_if_they_had_been_asked_themselves(source: PrometheusSource) -> None:
    read = _read(source, PODS)
    lines = WantedLines(WANTED)
    lines.feed(TEXT.encode())
    themselves = sample_of(lines, at=0.0)
    assert isinstance(themselves, PodSample)
    for pod in PODS:
        sample = read[pod]
        assert isinstance(sample, PodSample)
        assert (sample.counters, sample.by_class) == (themselves.counters, themselves.by_class)
        assert (sample.open_requests, sample.open_deficit) == (themselves.open_requests, themselves.open_deficit)


def test_a_pod_that_is_not_scraped_has_no_series(source: PrometheusSource) -> None:
    absent = PodAddress(namespace="team-c", name="one", ip="10.0.0.1", port=8000)
    (unread,) = asyncio.run(source.read([absent])).values()
    assert isinstance(unread, Unread)
    assert "no series" in unread.why


def test_a_pod_monitor_gives_series_of_ready_pods_under_their_own_names(source: PrometheusSource) -> None:
    """Although rules of the author's name another namespace and service."""
    sample = _read(source, [("monitored", "serving")])["monitored", "serving"]
    assert isinstance(sample, PodSample)
    assert "llmservice=chat," in sample.target
    loading = PodAddress(namespace="monitored", name="loading", ip="10.0.0.1", port=8000)
    assert isinstance(asyncio.run(source.read([loading]))["monitored", "loading"], Unread)


def test_the_documented_configuration_is_one(tmp_path: Path) -> None:
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(_documented()))
    promtool = program("promtool", suite="forky")  # that of bookworm was built without Kubernetes
    command = [promtool.path, "check", "config", "--syntax-only", tmp_path / "prometheus.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=promtool.environment)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_documented_configuration_gives_series_of_ready_engines(source: PrometheusSource) -> None:
    sample = _read(source, [("documented", "serving")])["documented", "serving"]
    assert isinstance(sample, PodSample)
    assert "llmservice=chat," in sample.target
    absent = [PodAddress(namespace="documented", name=name, ip="10.0.0.1", port=8000) for name in ("loading", "other")]
    assert all(isinstance(answer, Unread) for answer in asyncio.run(source.read(absent)).values())


def test_a_name_that_a_rule_drops_is_named_and_not_zero(source: PrometheusSource) -> None:
    read = _read(source, [("dropped", name) for name in NAMES])
    for name in NAMES:
        unread = read["dropped", name]
        assert isinstance(unread, Unread)
        assert f"no metric {name}" in unread.why
        assert f"a relabel rule of job 'dropped-{name}' may drop it" in unread.why
