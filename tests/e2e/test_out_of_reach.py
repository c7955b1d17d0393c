"""Services whose users wait although the replica is idle: no replica is bought for them, each says what it is, and the
broken promises page.

The tests share three services and their users, and run in the order of this file.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from hack.install import ROOT, service_url

from e2e.alerting import Alerting, alerting
from e2e.conftest import NAMESPACE, Service, accepts

# Three engines start in the first test's fixtures; a page may take eight minutes where nothing was counted before.
pytestmark = pytest.mark.timeout(900)

QUIET_SECONDS = 40.0
"""Eight ticks of the scaler: a deficit that replicas could relieve has bought them by then."""
VIRTUAL_GPU = {"profile": "llama-3-8b-1xa100", "timeScale": 16, "kvCapacityTokens": 61440}
"""About 6 tokens a second: a step is so long that a busy machine hardly lengthens it, so what users wait for is the
engine's own time and no load."""
THOUGHT = "<think>" + " the river walks slow" * 15 + "</think>" + " calm" * 20 + "<think>"
"""The virtual GPU says what it was asked: 60 tokens of it are hidden, which takes ten seconds."""

SPECS: dict[str, dict[str, Any]] = {
    "whole": {"qoe": {"classes": [{"name": "reading"}]}},
    "thinking": {
        "qoe": {"classes": [{"name": "reading"}]},
        "engine": {"extraArgs": ["--reasoning-parser", "deepseek_r1"]},
    },
    "hasty": {"qoe": {"classes": [{"name": "hasty", "expectedTTFT": "1s", "pace": 100}]}},
}
ASKED: dict[str, dict[str, Any]] = {
    "whole": {"messages": [{"role": "user", "content": " the river walks slow"}], "max_tokens": 40, "stream": False},
    "thinking": {"messages": [{"role": "user", "content": THOUGHT}], "max_tokens": 82, "stream": True},
    "hasty": {"messages": [{"role": "user", "content": " the river walks slow"}], "max_tokens": 60, "stream": True},
}
REASONS = {
    "whole": ("False", "Reachable"),
    "thinking": ("True", "Reasoning"),
    "hasty": ("True", "PaceAboveDecodeSpeed"),
}


@pytest.fixture(scope="module")
def three(service: Service) -> Iterator[Service]:
    """Their namespace's service, once all three are Ready."""
    example: dict[str, Any] = yaml.safe_load((ROOT / "examples" / "llmservice.yaml").read_text(encoding="utf-8"))
    for name, own in SPECS.items():
        engine = {**example["spec"]["engine"], "virtualGPU": VIRTUAL_GPU, **own.get("engine", {})}
        spec = {**example["spec"], "qoe": own["qoe"], "engine": engine}
        manifest = {**example, "metadata": {"name": name}, "spec": spec}
        service.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    try:
        service.wait("all three to be Ready", lambda: all(_is_ready(service, name) for name in SPECS))
        yield service
    finally:
        service.kubectl("delete", "llmservice", *SPECS, "--ignore-not-found")


def _is_ready(service: Service, name: str) -> bool:
    conditions = {c["type"]: c["status"] for c in _status(service, name).get("conditions", ())}
    return conditions.get("Ready") == "True"


@pytest.fixture(scope="module")
def pages(three: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alerting]:
    path = "-o=jsonpath={.data.rules\\.yaml}"
    rules = {name: three.kubectl("get", "configmap", f"{name}-alerts", path) for name in (*SPECS, three.name)}
    folder = tmp_path_factory.mktemp("alerting")
    with alerting(folder, kubeconfig=three.installation.kubeconfig, rules=rules) as found:
        yield found


@pytest.fixture(scope="module", autouse=True)
def users(three: Service, pages: Alerting) -> Iterator[Callable[[], None]]:
    """One user of each service, who asks again as soon as the answer is there, until they are sent away.

    Prometheus sees them from the start.
    """
    over = threading.Event()
    with _light_load(three, over):
        yield over.set


@contextmanager
def _light_load(service: Service, over: threading.Event) -> Iterator[None]:
    kubeconfig = service.installation.kubeconfig
    urls = {name: service_url(kubeconfig=kubeconfig, namespace=NAMESPACE, service=name) for name in SPECS}
    service.wait("connections to all three", lambda: all(map(accepts, urls.values())), timeout=60.0)

    def ask(name: str) -> None:
        with httpx.Client(timeout=120, trust_env=False) as client:
            while not over.is_set():
                reply = client.post(f"{urls[name]}/v1/chat/completions", json={"model": name, **ASKED[name]})
                assert reply.status_code == 200, reply.text

    threads = [threading.Thread(target=ask, args=(name,), daemon=True) for name in SPECS]
    for thread in threads:
        thread.start()
    try:
        yield
        assert over.is_set() or all(thread.is_alive() for thread in threads), "a user got an error"
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _status(service: Service, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(service.kubectl("get", "llmservice", name, "-o", "json")).get("status", {})
    return found


def _unreachable(service: Service, name: str) -> tuple[str, str]:
    conditions = {c["type"]: (c["status"], c["reason"]) for c in _status(service, name).get("conditions", ())}
    return conditions.get("ObjectiveUnreachable", ("", ""))


def test_none_of_them_is_given_a_second_replica_and_each_says_why(three: Service) -> None:
    for name, expected in REASONS.items():
        three.wait(f"{name}: {expected}", lambda n=name, e=expected: _unreachable(three, n) == e, timeout=120)
    until = time.monotonic() + QUIET_SECONDS
    while time.monotonic() < until:
        replicas = {name: _status(three, name).get("replicas") for name in SPECS}
        assert replicas == dict.fromkeys(SPECS, 1)
        time.sleep(2)
    assert {name: _unreachable(three, name) for name in SPECS} == REASONS
    for name in SPECS:
        assert not _status(three, name).get("scaling", {}).get("decisions"), name


def test_each_service_whose_answers_are_bad_pages_once_and_the_others_do_not(three: Service, pages: Alerting) -> None:
    """Prometheus has seen nothing before: its first sum of a promise's whole window comes within five minutes."""
    three.wait("the pages of both", lambda: bool(pages.of("thinking") and pages.of("hasty")), timeout=480)
    pages.restart_prometheus()
    # Two evaluations of every rule that pages, and the time that Alertmanager waits for more of a group.
    three.wait("two rounds of the rules after the restart", lambda: pages.rounds() >= 2, timeout=240)
    told = {name: [page.labels["alertname"] for page in pages.of(name)] for name in (*SPECS, three.name)}
    paged = ["AndanteQoEBudgetBurnFast"]
    assert told == {"whole": [], "thinking": paged, "hasty": paged, three.name: []}


def test_the_budget_in_the_status_is_what_prometheus_counted(
    three: Service, pages: Alerting, users: Callable[[], None]
) -> None:
    users()
    for name in SPECS:
        three.wait(
            f"{name}: the same counts", lambda n=name: _ledger(three, n) == pages.counted(n) != (0, 0), timeout=180
        )


def _ledger(service: Service, name: str) -> tuple[float, float]:
    """Bad requests, and all, that the status keeps."""
    state = _status(service, name).get("qoe", {}).get("ledger", {}).get("state", {})
    spans = [*state.get("hours", ()), *state.get("days", ())]
    return sum(bad for _, bad, _ in spans), sum(total for _, _, total in spans)


def test_a_page_says_where_its_runbook_is(pages: Alerting) -> None:
    (alert,) = pages.of("hasty")[0].alerts
    command = alert["annotations"]["runbook"].split()
    assert command[:2] == ["andante", "runbook"]
    program = Path(sys.executable).with_name(command[0])
    shown = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False, timeout=60)
    assert shown.returncode == 0, shown.stderr
    assert "Mitigation" in shown.stdout
