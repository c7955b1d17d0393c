"""Who is called, and who is not: live services that break their promise in different ways, and two that keep it.

The users of two services wait although the replica is idle: no replica is bought for them, and each service says what
it is. One service is overloaded until it may scale. The engines of two hang: one is started again, the other must not
be. The services live side by side, as a page takes minutes; the tests run in the order of this file.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.conftest import Service
from e2e.machine_load import busy
from e2e.on_call.alerting import Alerting, alerting
from e2e.on_call.hung_engine import Hung, hung_engine
from e2e.on_call.live_services import LiveServices, Users, live_services

# Engines start in the first test's fixtures; a page may take eight minutes where nothing was counted before.
pytestmark = pytest.mark.timeout(1500)

LEAVES_SECONDS = 90.0
"""Within which a replica whose engine hangs gets no new requests: 60 s without a step, three probes, and the machine's
own delays."""
BUSY_SECONDS = 20.0
QUIET_SECONDS = 40.0
"""Eight ticks of the scaler: a deficit that replicas could relieve has bought them by then."""
HANG_SECONDS = 8 * 60.0
"""Within which docs/concepts/alerts.md promises the alert of an engine that hangs."""
SCRAPE_SECONDS = 15.0
"""Prometheus sees that tokens stopped up to one scrape later."""
NOTIFIED_SECONDS = 90.0
"""Alertmanager waits 30 s for more alerts of a group; the rest is for a busy machine."""
VIRTUAL_GPU = {"profile": "llama-3-8b-1xa100", "timeScale": 16, "kvCapacityTokens": 61440}
"""About 6 tokens a second: a step is so long that a busy machine hardly lengthens it, so what users wait for is the
engine's own time and no load."""
WORDS = " the river walks slow"
THOUGHT = "<think>" + WORDS * 15 + "</think>" + " calm" * 20 + "<think>"
"""The virtual GPU says what it was asked: 60 tokens of it are hidden, which takes ten seconds."""

SPECS: dict[str, dict[str, Any]] = {
    "whole": {"qoe": {"classes": [{"name": "reading"}]}, "engine": {"virtualGPU": VIRTUAL_GPU}},
    "thinking": {
        "qoe": {"classes": [{"name": "reading"}]},
        "engine": {"virtualGPU": VIRTUAL_GPU, "extraArgs": ["--reasoning-parser", "deepseek_r1"]},
    },
    "hasty": {
        "qoe": {"classes": [{"name": "hasty", "expectedTTFT": "1s", "pace": 100}]},
        "engine": {"virtualGPU": VIRTUAL_GPU},
    },
    # Eight at a time get almost twice their pace, so a replica carries fifteen users. Two replicas carry all, also
    # where more than half of the users' connections end at one of them.
    "crowded": {
        "qoe": {"classes": [{"name": "patient", "expectedTTFT": "2s", "pace": 3}]},
        "engine": {"virtualGPU": {**VIRTUAL_GPU, "maxNumSeqs": 8}},
        "scaling": {"maxReplicas": 1},
    },
    "hung": {"qoe": {"classes": [{"name": "reading"}]}, "engine": {"virtualGPU": VIRTUAL_GPU, "hangTimeout": "0s"}},
}
ASKED: dict[str, tuple[int, dict[str, Any]]] = {
    "whole": (1, {"messages": [{"role": "user", "content": WORDS}], "max_tokens": 40, "stream": False}),
    "thinking": (1, {"messages": [{"role": "user", "content": THOUGHT}], "max_tokens": 82, "stream": True}),
    "hasty": (1, {"messages": [{"role": "user", "content": WORDS}], "max_tokens": 60, "stream": True}),
    "crowded": (20, {"messages": [{"role": "user", "content": WORDS}], "max_tokens": 60, "stream": True}),
}
"""Users of each service, and what they ask."""
REASONS = {
    "whole": ("False", "Reachable"),
    "thinking": ("True", "Reasoning"),
    "hasty": ("True", "PaceAboveDecodeSpeed"),
}
FAST, STALLED = "AndanteQoEBudgetBurnFast", "AndanteStreamsStalled"
PAGES = {"thinking": [FAST], "hasty": [FAST], "crowded": [FAST], "hung": [STALLED], "whole": [], "chat": []}
"""Alerts that page, by service: each once."""


@pytest.fixture(scope="module")
def services(applied: Service) -> LiveServices:
    with busy():  # the example has no users at all
        return live_services(applied, {applied.name: {}, **SPECS})


@pytest.fixture(scope="module")
def pages(services: LiveServices, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alerting]:
    path = "-o=jsonpath={.data.rules\\.yaml}"
    rules = {name: services.shared.kubectl("get", "configmap", f"{name}-alerts", path) for name in services.names}
    kubeconfig = services.shared.installation.kubeconfig
    with alerting(tmp_path_factory.mktemp("alerting"), kubeconfig=kubeconfig, rules=rules) as found:
        yield found


@pytest.fixture(scope="module", autouse=True)
def users(services: LiveServices, pages: Alerting) -> Iterator[Users]:
    """Prometheus sees them from the start."""
    found = Users(services)
    for name, (count, asked) in ASKED.items():
        found.come(name, count, asked)
    yield found
    found.leave()


@pytest.fixture(scope="module", autouse=True)
def hung(services: LiveServices, pages: Alerting) -> Iterator[Hung]:
    """From the start, so that its page is not waited for after the others."""
    with hung_engine(services, "hung") as found:
        yield found


@pytest.fixture(scope="module", autouse=True)
def stuck(services: LiveServices, hung: Hung) -> Iterator[Hung]:
    """The example's service, which may scale to three replicas, and whose engine the kubelet may start again."""
    with hung_engine(services, services.shared.name) as found:
        yield found


def test_an_engine_that_hangs_leaves_the_service_is_named_and_is_started_again(
    services: LiveServices, stuck: Hung
) -> None:
    name, shared = services.shared.name, services.shared
    left = LEAVES_SECONDS + BUSY_SECONDS - (time.time() - stuck.since)
    shared.wait("its replica to leave the Service", lambda: not _serving(services, name), timeout=left)
    shared.wait("the condition", lambda: services.condition(name, "Degraded") == ("True", "EngineHangs"), timeout=30)
    shared.wait("its engine to serve again", lambda: _restarts(services, name) == 1 and _serving(services, name))
    assert services.status(name).get("replicas") == 1
    assert not services.status(name).get("scaling", {}).get("decisions"), "nothing is bought for it"


def _serving(services: LiveServices, name: str) -> bool:
    """Whether a replica of the service gets new requests."""
    found = services.shared.kubectl(
        "get", "endpointslices", "-l", f"kubernetes.io/service-name={name}", "-o=jsonpath={.items[*].endpoints}"
    )
    return '"ready":true' in found


def _restarts(services: LiveServices, name: str) -> int:
    path = "-o=jsonpath={.status.containerStatuses[0].restartCount}"
    return int(services.shared.kubectl("get", "pod", services.pod(name), path) or 0)


def test_who_waits_on_an_idle_replica_is_given_no_second_one_and_told_why(services: LiveServices) -> None:
    def told() -> dict[str, tuple[str, str]]:
        return {name: services.condition(name, "ObjectiveUnreachable") for name in REASONS}

    services.shared.wait(f"{REASONS}", lambda: told() == REASONS, timeout=120)
    until = time.monotonic() + QUIET_SECONDS
    while time.monotonic() < until:
        assert {name: services.status(name).get("replicas") for name in REASONS} == dict.fromkeys(REASONS, 1)
        time.sleep(2)  # a tick takes five: none is missed
    assert told() == REASONS
    for name in REASONS:
        assert not services.status(name).get("scaling", {}).get("decisions"), name


def test_each_service_whose_answers_are_bad_pages(services: LiveServices, pages: Alerting) -> None:
    """Prometheus has seen nothing before: its first sum of a promise's whole window comes within five minutes."""
    bad = [name for name, alerts in PAGES.items() if alerts == [FAST]]
    services.shared.wait(f"the pages of {bad}", lambda: all(map(pages.of, bad)), timeout=480)


def test_the_overloaded_service_scales_once_it_may(services: LiveServices) -> None:
    wanted = '{"spec": {"scaling": {"maxReplicas": 4}}}'
    with busy():
        services.shared.kubectl("patch", "llmservice", "crowded", "--type=merge", "-p", wanted)
        services.shared.wait("more replicas", lambda: services.status("crowded").get("readyReplicas", 0) > 1)


def test_an_engine_that_hangs_pages_although_it_says_that_it_is_healthy(
    services: LiveServices, pages: Alerting, hung: Hung
) -> None:
    most = HANG_SECONDS + NOTIFIED_SECONDS
    services.shared.wait("the page of the hang", lambda: bool(pages.of("hung")), timeout=most)
    fired = pages.of("hung")[0].started()
    assert fired - hung.since <= HANG_SECONDS + SCRAPE_SECONDS
    assert hung.says_healthy()


def test_the_page_of_the_overload_is_over_after_the_service_has_scaled(services: LiveServices, pages: Alerting) -> None:
    # Now, as none is pending: Prometheus does not remember how long it has waited for an alert as short as a hang's.
    pages.restart_prometheus()
    # The bad answers leave the alert's short window of five minutes; then it lingers, and Alertmanager says so.
    services.shared.wait("the page to be over", lambda: bool(pages.ended("crowded")), timeout=600)
    assert [page.labels["alertname"] for page in pages.ended("crowded")] == [FAST]


def test_each_fault_pages_once_and_nobody_else(services: LiveServices, pages: Alerting) -> None:
    services.shared.wait("two rounds of the rules after the restart", lambda: pages.rounds() >= 2, timeout=240)
    told = {name: [page.labels["alertname"] for page in pages.of(name)] for name in PAGES}
    assert told == PAGES


def test_the_budget_in_the_status_is_what_prometheus_counted(
    services: LiveServices, pages: Alerting, users: Users
) -> None:
    users.leave()
    for name in REASONS:
        services.shared.wait(
            f"{name}: the same counts", lambda n=name: _ledger(services, n) == pages.counted(n) != (0, 0), timeout=180
        )


def _ledger(services: LiveServices, name: str) -> tuple[float, float]:
    """Bad requests, and all, that the status keeps."""
    state = services.status(name).get("qoe", {}).get("ledger", {}).get("state", {})
    spans = [*state.get("hours", ()), *state.get("days", ())]
    return sum(bad for _, bad, _ in spans), sum(total for _, _, total in spans)


@pytest.mark.parametrize("name", ["hasty", "hung"])
def test_a_page_says_where_its_runbook_is(pages: Alerting, name: str) -> None:
    (alert,) = pages.of(name)[0].alerts
    command = alert["annotations"]["runbook"].split()
    assert command[:2] == ["andante", "runbook"]
    program = Path(sys.executable).with_name(command[0])
    shown = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False, timeout=60)
    assert shown.returncode == 0, shown.stderr
    assert "Mitigation" in shown.stdout
