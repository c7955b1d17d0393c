"""A real Prometheus and Alertmanager beside the node, with the examples of the docs and the rules of the cluster."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import yaml
from hack.install import ROOT
from prometheus_client.parser import text_string_to_metric_families

from alertmanager_program import alertmanager_program, running
from andante.domain import metric_names
from andante.domain.slo.alerts import KEEP_FIRING
from andante.domain.slo.rules import generic_groups, rule_file
from metric_stores import prometheus
from small_server import serving

SOON = "30s"
"""How long an alert lingers, and until Alertmanager tells what changed: minutes else, for which no test waits."""
EXAMPLES = ROOT / "examples" / "monitoring"


@dataclass(frozen=True, slots=True)
class Page:
    """One notification that Alertmanager sent."""

    receiver: str
    labels: Mapping[str, str]
    """That all of its alerts share."""
    alerts: Sequence[Mapping[str, Any]]
    over: bool
    """Whether all of its alerts have ended."""

    def started(self) -> float:
        """Unix time at which the first of its alerts fired."""
        return min(datetime.fromisoformat(alert["startsAt"]).timestamp() for alert in self.alerts)


@dataclass(slots=True)
class Alerting:
    """What came to the receivers, and the Prometheus that it came from."""

    run: Callable[[], AbstractContextManager[str]]
    """Runs a Prometheus; yields its URL."""
    prometheus: str = ""
    """URL of the one that runs."""
    pages: list[Page] = field(default_factory=list)
    servers: ExitStack = field(default_factory=ExitStack)

    def of(self, service: str) -> list[Page]:
        """Pages (no warnings) of a service, as they came."""
        return [page for page in self._to_pager(service) if not page.over]

    def ended(self, service: str) -> list[Page]:
        """What said that pages of a service are over."""
        return [page for page in self._to_pager(service) if page.over]

    def _to_pager(self, service: str) -> list[Page]:
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
            for name in (metric_names.SCORED_REQUESTS, metric_names.GOOD_REQUESTS)
        )
        return total - good, total

    def _value(self, promql: str) -> float:
        answer = httpx.get(f"{self.prometheus}/api/v1/query", params={"query": promql}, trust_env=False, timeout=30)
        result = answer.raise_for_status().json()["data"]["result"]
        return float(result[0]["value"][1]) if result else 0.0

    def restart_prometheus(self) -> None:
        """End the Prometheus that runs, and run one on its data."""
        self.servers.close()
        self.prometheus = self.servers.enter_context(self.run())

    def take(self, path: str, body: bytes) -> None:
        """Note what Alertmanager sent to a receiver."""
        sent = json.loads(body)
        self.pages.append(Page(path.strip("/"), sent["commonLabels"], sent["alerts"], sent["status"] == "resolved"))


@contextmanager
def alerting(folder: Path, *, kubeconfig: Path, rules: Mapping[str, str]) -> Iterator[Alerting]:
    """Both servers. `rules`: by name, the text of the rules files of services; the generic rules come with them."""
    found = Alerting(partial(prometheus, "prometheus 3", folder))  # Debian 12's 2.42 discovers no pods
    with serving(lambda path: (404, "text/plain", b""), take=found.take) as receivers:
        config = yaml.safe_load((EXAMPLES / "alertmanager.yaml").read_text())
        for receiver in config["receivers"]:
            for hook in receiver.get("webhook_configs", ()):
                hook["url"] = f"http://127.0.0.1:{receivers}/{receiver['name']}"
        config["route"]["routes"][0]["group_interval"] = SOON
        (folder / "alertmanager.yml").write_text(yaml.safe_dump(config))
        texts = {"generic": yaml.safe_dump(rule_file(generic_groups())), **rules}
        for name, text in texts.items():
            lingers = f"keep_firing_for: {KEEP_FIRING}"
            assert lingers in text, name
            (folder / f"{name}.rules.yaml").write_text(text.replace(lingers, f"keep_firing_for: {SOON}"))
        scraping = yaml.safe_load((EXAMPLES / "prometheus.yaml").read_text())
        for job in scraping["scrape_configs"]:
            for discovery in job["kubernetes_sd_configs"]:
                discovery["kubeconfig_file"] = str(kubeconfig)
        scraping["rule_files"] = ["*.rules.yaml"]
        with running(alertmanager_program(folder), folder) as manager:
            targets = [manager.removeprefix("http://")]
            scraping["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": targets}]}]}
            (folder / "prometheus.yaml").write_text(yaml.safe_dump(scraping))
            with found.servers:
                found.restart_prometheus()
                yield found
