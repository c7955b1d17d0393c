"""A real Prometheus and Alertmanager beside the node, with the examples of the docs and the rules of the cluster."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml
from hack.install import ROOT
from hack.localcluster.control_plane import free_ports
from hack.localcluster.progress import wait_until
from prometheus_client.parser import text_string_to_metric_families

from alertmanager_program import alertmanager_program
from andante.domain import metric_names
from andante.domain.slo.rules import generic_groups, rule_file
from debian_programs import Program, program
from small_server import serving

EXAMPLES = ROOT / "examples" / "monitoring"


@dataclass(frozen=True, slots=True)
class Page:
    """One notification that Alertmanager sent."""

    receiver: str
    at: float
    """Seconds of the monotonic clock."""
    labels: Mapping[str, str]
    """That all of its alerts share."""
    alerts: Sequence[Mapping[str, Any]]


@dataclass(slots=True)
class Alerting:
    """What came to the receivers, and the Prometheus that it came from."""

    prometheus: str = ""
    pages: list[Page] = field(default_factory=list)
    _restart: Any = None

    def of(self, service: str) -> list[Page]:
        """Pages (no warnings) of a service, as they came."""
        return [p for p in self.pages if p.receiver == "pager" and p.labels.get("llmservice") == service]

    def rounds(self) -> int:
        """How often each group of rules that pages has been evaluated since Prometheus started, at the least."""
        text = httpx.get(f"{self.prometheus}/metrics", trust_env=False, timeout=30).text
        counted = [
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "prometheus_rule_group_iterations_total"
            and not sample.labels["rule_group"].endswith(".slow")
        ]
        return round(min(counted, default=0))

    def counted(self, service: str) -> tuple[float, float]:
        """Bad requests of a service, and all, since its engines began."""
        total, good = (
            self._value(f'sum({name}{{llmservice="{service}"}})')
            for name in (metric_names.REQUEST_QOE_COUNT, metric_names.GOOD_REQUESTS)
        )
        return total - good, total

    def _value(self, promql: str) -> float:
        answer = httpx.get(f"{self.prometheus}/api/v1/query", params={"query": promql}, trust_env=False, timeout=30)
        result = answer.raise_for_status().json()["data"]["result"]
        return float(result[0]["value"][1]) if result else 0.0

    def restart_prometheus(self) -> None:
        self._restart()

    def take(self, path: str, body: bytes) -> None:
        sent = json.loads(body)
        if sent["status"] == "firing":
            self.pages.append(Page(path.strip("/"), time.monotonic(), sent["commonLabels"], sent["alerts"]))


@contextmanager
def alerting(folder: Path, *, kubeconfig: Path, rules: Mapping[str, str]) -> Iterator[Alerting]:
    """Both servers. `rules`: by name, the text of the rules files of services; the generic rules come with them."""
    found = Alerting()
    (manager_port, prometheus_port) = free_ports(2)
    with serving(lambda path: (404, "text/plain", b""), take=found.take) as receivers:
        config = yaml.safe_load((EXAMPLES / "alertmanager.yaml").read_text())
        for receiver in config["receivers"]:
            for hook in receiver.get("webhook_configs", ()):
                hook["url"] = f"http://127.0.0.1:{receivers}/{receiver['name']}"
        (folder / "alertmanager.yml").write_text(yaml.safe_dump(config))
        texts = {"generic": yaml.safe_dump(rule_file(generic_groups())), **rules}
        for name, text in texts.items():
            (folder / f"{name}.rules.yaml").write_text(text)
        scraping = yaml.safe_load((EXAMPLES / "prometheus.yaml").read_text())
        for job in scraping["scrape_configs"]:
            for discovery in job["kubernetes_sd_configs"]:
                discovery["kubeconfig_file"] = str(kubeconfig)
        scraping["rule_files"] = ["*.rules.yaml"]
        scraping["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{manager_port}"]}]}]}
        (folder / "prometheus.yml").write_text(yaml.safe_dump(scraping))
        manager = _Server(
            alertmanager_program(folder),
            folder,
            f"--config.file={folder}/alertmanager.yml",
            f"--storage.path={folder}/alertmanager",
            "--cluster.listen-address=",
            port=manager_port,
        )
        prometheus = _Server(
            program("prometheus", suite="forky"),  # Debian 12's is built without the discovery of pods
            folder,
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/tsdb",
            port=prometheus_port,
        )
        with manager, prometheus:
            found.prometheus = prometheus.url
            found._restart = prometheus.restart
            yield found


class _Server:
    """A server of the Prometheus family."""

    def __init__(self, binary: Program, folder: Path, *arguments: str, port: int) -> None:
        self._binary, self._log = binary, folder / f"{binary.path.name}.log"
        self._command = [str(binary.path), *arguments, f"--web.listen-address=127.0.0.1:{port}"]
        self.url = f"http://127.0.0.1:{port}"

    def __enter__(self) -> _Server:
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                self._command, env=self._binary.environment, cwd=self._binary.path.parent, stdout=log, stderr=log
            )
        wait_until(self._ready, what=self._command[0], timeout_seconds=60, still_possible=self._ended)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    def restart(self) -> None:
        self.__exit__()
        self.__enter__()

    def _ended(self) -> str | None:
        return self._log.read_text()[-2000:] if self._process.poll() is not None else None

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/-/ready", timeout=5, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False
