"""The queries, by a real Prometheus that has scraped pods."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hack.localcluster.control_plane import free_ports

from andante.adapters.exposition import WANTED, sample_of
from andante.adapters.exposition_lines import WantedLines
from andante.adapters.prometheus import PrometheusSource
from andante.ports import PodAddress, PodSample, Unread
from debian_programs import program
from operator_process import wait_for
from small_server import serving
from unit.test_exposition import TEXT

PODS = [("team-a", "one"), ("team-a", "two"), ("team-b", "one")]


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[str]:
    """The URL of a Prometheus that scrapes them every second."""
    found = program("prometheus")
    (port,) = free_ports(1)
    with serving(lambda path: (200, "text/plain; version=0.0.4", TEXT.encode())) as pods:
        jobs = [
            {
                "job_name": f"{namespace}-{pod}",
                "scrape_interval": "1s",
                "metrics_path": f"/{namespace}/{pod}",
                "static_configs": [{"targets": [f"127.0.0.1:{pods}"], "labels": {"namespace": namespace, "pod": pod}}],
            }
            for namespace, pod in PODS
        ]
        config = tmp_path / "prometheus.yaml"
        config.write_text(yaml.safe_dump({"scrape_configs": jobs}))
        command = [str(found.path), f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'tsdb'}"]
        command += [f"--web.listen-address=127.0.0.1:{port}"]
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **found.environment})
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(20)


def test_pods_are_read_as_if_they_had_been_asked_themselves(prometheus: str) -> None:
    addresses = [PodAddress(namespace=namespace, name=pod, ip="10.0.0.1", port=8000) for namespace, pod in PODS]
    absent = PodAddress(namespace="team-c", name="one", ip="10.0.0.1", port=8000)
    source = PrometheusSource(url=prometheus, timeout_seconds=10.0, round_seconds=20.0)
    read: dict[tuple[str, str], PodSample | Unread] = {}

    def all_are_there() -> bool:
        read.update(asyncio.run(source.read([*addresses, absent])))
        return all(isinstance(read[pod], PodSample) for pod in PODS)

    wait_for("Prometheus to have scraped every pod", all_are_there, told=lambda: str(read))
    lines = WantedLines(WANTED)
    lines.feed(TEXT.encode())
    themselves = sample_of(lines, at=0.0)
    assert isinstance(themselves, PodSample)
    for pod in PODS:
        sample = read[pod]
        assert isinstance(sample, PodSample)
        assert (sample.counters, sample.by_class) == (themselves.counters, themselves.by_class)
        assert (sample.open_requests, sample.open_deficit) == (themselves.open_requests, themselves.open_deficit)
    assert isinstance(read["team-c", "one"], Unread)
