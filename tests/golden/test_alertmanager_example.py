"""The example for Alertmanager, in a real one: it is valid, tells the right receiver, and tells of each fault once."""

from __future__ import annotations

import json
import subprocess
import threading
import urllib.request
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hack.docs.markdown import ROOT
from hack.localcluster.progress import wait_until

from alertmanager_program import PACKAGE, alertmanager_program, running
from andante.domain.pace import PRESETS
from andante.domain.slo.promise import DAY, Promise
from andante.domain.slo.rules import ALERTS, generic_groups, service_groups
from debian_programs import Program, program
from small_server import serving

EXAMPLE = ROOT / "examples" / "monitoring" / "alertmanager.yaml"
Alert = dict[str, str]
MARKER = "marker"
"""A service whose alert is fired after a fault: once that is told, all of the fault was."""


def _severities() -> dict[str, str]:
    """By alert, from the rules themselves."""
    promise = Promise(good_fraction=0.99, window=28 * DAY)
    made = service_groups(namespace="team", name="chat", promise=promise, classes=tuple(PRESETS.values()))
    rules = [rule for group in (*generic_groups(), *made) for rule in group["rules"] if "alert" in rule]
    return {rule["alert"]: rule["labels"]["severity"] for rule in rules}


SEVERITY = _severities()


def _alert(name: str, service: str | None = "chat", **labels: str) -> Alert:
    of_service = {} if service is None else {"namespace": "team", "llmservice": service}
    return {"alertname": name, "severity": SEVERITY[name], **of_service, **labels}


def _amtool(*arguments: str) -> str:
    tool = program(PACKAGE, name="amtool")
    done = subprocess.run(
        [tool.path, *arguments], env=tool.environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_amtool_finds_the_configuration_valid() -> None:
    assert "SUCCESS" in _amtool("check-config", str(EXAMPLE))


@pytest.mark.parametrize("alert", ALERTS)
def test_what_is_critical_pages_and_the_rest_waits_for_the_morning(alert: str) -> None:
    labels = [f"{name}={value}" for name, value in _alert(alert).items()]
    told = _amtool("config", "routes", "test", f"--config.file={EXAMPLE}", *labels)
    assert told.split() == [{"critical": "pager", "warning": "morning"}[SEVERITY[alert]]]


def test_the_alerts_of_others_go_where_they_went_before() -> None:
    told = _amtool("config", "routes", "test", f"--config.file={EXAMPLE}", "alertname=KubeletDown", "severity=critical")
    assert told.split() == ["others"]


class Notified:
    """What an Alertmanager with the example's configuration told its receivers."""

    def __init__(self) -> None:
        self.told: list[tuple[str, list[str]]] = []
        """Receiver, and the names of the alerts that fired; those of the marker aside."""
        self._marker_told = threading.Event()
        self._lock = threading.Lock()
        self.url = ""

    def take(self, path: str, body: bytes) -> None:
        sent = json.loads(body)
        firing = sorted(alert["labels"]["alertname"] for alert in sent["alerts"] if alert["status"] == "firing")
        if sent["groupLabels"].get("llmservice") == MARKER:
            self._marker_told.set()
            return
        with self._lock:
            self.told.append((path.strip("/"), firing))

    def fire(self, alerts: Iterable[Alert]) -> None:
        at = datetime.now(tz=UTC).isoformat()
        body = json.dumps([{"labels": labels, "startsAt": at} for labels in alerts]).encode()
        request = urllib.request.Request(
            f"{self.url}/api/v2/alerts", data=body, headers={"Content-Type": "application/json"}
        )
        urllib.request.urlopen(request, timeout=10).close()

    def after(self, fault: Iterable[Alert]) -> list[tuple[str, list[str]]]:
        """What was told of a fault, once a later one of another service was told as well."""
        self.fire(fault)
        wait_until(lambda: self.told, what="a notification", timeout_seconds=60, poll_seconds=0.05)
        self.fire([_alert("AndanteQoEBudgetBurnFast", MARKER)])
        assert self._marker_told.wait(60), "the marker was not told"
        return sorted(self.told)


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory: pytest.TempPathFactory) -> Program:
    return alertmanager_program(tmp_path_factory.mktemp("alertmanager"))


@pytest.fixture
def notified(tmp_path: Path, alertmanager: Program) -> Iterator[Notified]:
    found = Notified()
    with serving(lambda path: (404, "text/plain", b""), take=found.take) as receivers:
        config: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
        (ours,) = config["route"]["routes"]
        ours |= {"group_wait": "1s", "group_interval": "1s"}
        for receiver in config["receivers"]:
            for hook in receiver.get("webhook_configs", ()):
                hook["url"] = f"http://127.0.0.1:{receivers}/{receiver['name']}"
        (tmp_path / "alertmanager.yml").write_text(yaml.safe_dump(config))
        with running(alertmanager, tmp_path) as found.url:
            yield found


OVERLOAD = (
    "AndanteQoEBudgetBurnFast",
    "AndanteQoEBudgetBurnSlow",
    "AndanteQoEBudgetBurnTrend",
    "AndanteQoEBudgetSpent",
    "AndanteAtMaximumWithDeficit",
    "AndantePodsUnschedulable",
)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ([_alert(name) for name in OVERLOAD], [("pager", ["AndanteQoEBudgetBurnFast"])]),
        (
            [
                _alert("AndanteStreamsStalled", pod="chat-1"),
                _alert("AndanteStreamsStalled", pod="chat-2"),
                _alert("AndanteQoEBudgetBurnFast"),
                _alert("AndanteQoEBudgetBurnSlow"),
            ],
            [("pager", ["AndanteStreamsStalled", "AndanteStreamsStalled"])],
        ),
        (
            [_alert("AndanteMetricsMissing"), _alert("AndanteMetricsPartial"), _alert("AndanteScalingBlocked")],
            [("morning", ["AndanteMetricsMissing"])],
        ),
        (
            [_alert("AndanteOperatorDown", None), _alert("AndanteOperatorStuck", None)],
            [("morning", ["AndanteOperatorDown", "AndanteOperatorStuck"])],
        ),
        (
            [_alert("AndanteQoEBudgetBurnFast", "chat"), _alert("AndanteReplicasFlapping", "code")],
            [("morning", ["AndanteReplicasFlapping"]), ("pager", ["AndanteQoEBudgetBurnFast"])],
        ),
    ],
    ids=["an overload", "engines that hang", "no metrics", "no operator", "two services"],
)
def test_each_fault_is_told_once(notified: Notified, fault: list[Alert], told: list[tuple[str, list[str]]]) -> None:
    assert notified.after(fault) == told
