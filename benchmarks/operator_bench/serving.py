"""What the operator costs over many services whose pods are ready and answer: one control plane, a process that is all
engines (`engines`), and for each scenario an operator of its own.

Pods are made by the real controllers. Where a kubelet would report them ready, this does: each has an address of its
own on loopback. The API server's work on ten thousand of them is on the same cores as the operator's.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml
from benchmarks.operator_bench.engines import address
from benchmarks.operator_bench.plane import API, ROOT, OperatorProcess, install_crds, make_namespaces, service
from benchmarks.operator_bench.processes import Process
from hack.free_ports import free_ports
from hack.localcluster.api import ControlPlane
from hack.localcluster.progress import say, wait_until

WARM_SECONDS = 75.0
"""From an operator's first tick until what it says of a busy fleet has been written once: a window of the measures."""
SCRAPE_SECONDS = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What the pods do, and how the operator reads them."""

    busy: bool = True
    hostile_percent: int = 0
    prometheus: bool = False
    resync_seconds: float = 900.0


SCENARIOS = {
    "busy": Scenario(),
    "idle": Scenario(busy=False),
    "hostile": Scenario(hostile_percent=10),
    "prometheus": Scenario(prometheus=True),
    "resync": Scenario(resync_seconds=20.0),
}


class ReadyFleet:
    """Services with ready pods on a control plane; `control` the engines by `set`."""

    def __init__(self, plane: ControlPlane, folder: Path, *, services: int, pods: int, namespaces: int) -> None:
        self._plane, self._folder, self._api = plane, folder, API(plane)
        self._services, self._pods = services, pods
        self._namespaces = [f"bench-{number:03d}" for number in range(namespaces)]
        self._control = folder / "control.json"
        (self._federation,) = free_ports(1)

    def make(self) -> None:
        """Services, and their pods by the controllers; then all of them ready."""
        make_namespaces(self._plane, self._namespaces)
        install_crds(self._plane, self._namespaces[0])
        with OperatorProcess(self._plane, self._folder, name="making") as operator:
            say(f"{self._services} services with {self._pods} pods each")
            self._api.each(self._create, range(self._services))
            wanted = self._services * self._pods
            wait_until(
                lambda: self._api.count("/api/v1/pods") >= wanted,
                what=f"{wanted} pods",
                timeout_seconds=1800,
                still_possible=operator.process.check,
                poll_seconds=2.0,
            )
        say("making the pods ready")
        pods = sorted(
            (pod["metadata"]["namespace"], pod["metadata"]["name"]) for pod in self._api.items("/api/v1/pods")
        )
        (self._folder / "pods.json").write_text(json.dumps(pods))
        self._api.each(self._make_ready, enumerate(pods))

    @contextmanager
    def engines(self) -> Iterator[None]:
        """The process that answers for the pods."""
        self.set(Scenario(busy=False))
        command = [sys.executable, "-m", "benchmarks.operator_bench.engines"]
        command += ["--pods", str(self._folder / "pods.json"), "--control", str(self._control)]
        command += ["--federation-port", str(self._federation)]
        roots = (ROOT, ROOT / "operator", ROOT / "engine_image")
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, roots))}
        process = Process(command, log=self._folder / "engines.log", environment=environment)
        try:
            wait_until(
                lambda: "serving" in process.log.read_text(),
                what="the engines to serve",
                timeout_seconds=120,
                still_possible=process.check,
            )
            yield
        finally:
            process.stop()

    def set(self, scenario: Scenario) -> None:
        """What the pods do from now on."""
        said = {"busy": scenario.busy, "hostile_percent": scenario.hostile_percent}
        new = self._control.with_suffix(".new")
        new.write_text(json.dumps(said))
        new.replace(self._control)

    @contextmanager
    def prometheus(self, binary: Path) -> Iterator[str]:
        """A Prometheus that has the pods' series; its URL."""
        jobs = [
            {
                "job_name": namespace,
                "metrics_path": f"/federate/{namespace}",
                "honor_labels": True,
                "scrape_interval": f"{SCRAPE_SECONDS}s",
                "scrape_timeout": "10s",
                "static_configs": [{"targets": [f"127.0.0.1:{self._federation}"]}],
            }
            for namespace in self._namespaces
        ]
        config = self._folder / "prometheus.yaml"
        config.write_text(yaml.safe_dump({"scrape_configs": jobs}))
        (port,) = free_ports(1)
        url = f"http://127.0.0.1:{port}"
        command = [str(binary), f"--config.file={config}", f"--storage.tsdb.path={self._folder / 'tsdb'}"]
        command += [f"--web.listen-address=127.0.0.1:{port}"]
        process = Process(command, log=self._folder / "prometheus.log", environment=dict(os.environ))
        try:
            wait_until(
                lambda: _series(url) >= self._services * self._pods,
                what="Prometheus to have every pod",
                timeout_seconds=120,
                still_possible=process.check,
                poll_seconds=1.0,
            )
            yield url
        finally:
            process.stop()

    def _create(self, number: int) -> httpx.Response:
        namespace = self._namespaces[number % len(self._namespaces)]
        manifest = service(namespace, f"s{number:04d}", minReplicas=self._pods, maxReplicas=2 * self._pods)
        return self._api.client.post(f"/apis/andante.dev/v1alpha1/namespaces/{namespace}/llmservices", json=manifest)

    def _make_ready(self, numbered: tuple[int, tuple[str, str]]) -> httpx.Response:
        number, (namespace, name) = numbered
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        kinds = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
        container = {
            "name": "engine",
            "image": "example.invalid/engine:1",
            "imageID": "example.invalid/engine@sha256:" + "0" * 64,
            "containerID": "containerd://" + "0" * 64,
            "ready": True,
            "started": True,
            "restartCount": 0,
            "state": {"running": {"startedAt": now}},
        }
        status = {
            "phase": "Running",
            "hostIP": "10.0.0.1",
            "podIP": address(number),
            "podIPs": [{"ip": address(number)}],
            "startTime": now,
            "conditions": [{"type": kind, "status": "True", "lastTransitionTime": now} for kind in kinds],
            "containerStatuses": [container],
        }
        return self._api.client.patch(
            f"/api/v1/namespaces/{namespace}/pods/{name}/status",
            headers={"Content-Type": "application/merge-patch+json"},
            content=json.dumps({"status": status}),
        )


def _series(url: str) -> int:
    try:
        answer = httpx.get(
            f"{url}/api/v1/query",
            params={"query": 'count(andante_open_requests{qoe_class="reading"})'},
            timeout=10,
            trust_env=False,
        ).json()
        return int(answer["data"]["result"][0]["value"][1])
    except (httpx.HTTPError, ValueError, KeyError, IndexError):
        return 0


def serving(
    folder: Path,
    *,
    services: int,
    pods: int,
    namespaces: int,
    seconds: float,
    scenarios: list[str],
    prometheus: Path | None,
    turn: Callable[[], AbstractContextManager[None]],
    done: Callable[[str, dict[str, float]], None],
) -> None:
    """Measures each of `scenarios` and hands it to `done`. `turn`: what is waited for before each."""
    with ControlPlane() as plane:
        fleet = ReadyFleet(plane, folder, services=services, pods=pods, namespaces=namespaces)
        with turn():
            fleet.make()
        with fleet.engines():
            for name in scenarios:
                with turn():
                    done(name, _measure(fleet, plane, folder, name, seconds=seconds, prometheus=prometheus))


def _measure(
    fleet: ReadyFleet, plane: ControlPlane, folder: Path, name: str, *, seconds: float, prometheus: Path | None
) -> dict[str, float]:
    scenario = SCENARIOS[name]
    say(f"scenario {name!r}")
    fleet.set(scenario)
    settings: dict[str, Any] = {"resyncSeconds": scenario.resync_seconds}
    file = name.replace(" ", "-")
    if not scenario.prometheus:
        with OperatorProcess(plane, folder, name=file, **settings) as operator:
            return _watch(operator, seconds=seconds)
    assert prometheus is not None, "no Prometheus"
    with (
        fleet.prometheus(prometheus) as url,
        OperatorProcess(plane, folder, name=file, prometheusURL=url, **settings) as operator,
    ):
        return _watch(operator, seconds=seconds)


def _watch(operator: OperatorProcess, *, seconds: float) -> dict[str, float]:
    """Figures over `seconds`, once the operator has settled; memory since its start."""
    process, metrics = operator.process, operator.metrics
    ready, services = process.memory_mib("VmHWM"), metrics.total("andante_operator_services")
    time.sleep(WARM_SECONDS)
    if reason := process.check():
        raise SystemExit(reason)
    before = _snapshot(operator)
    time.sleep(seconds)
    after = _snapshot(operator)
    if reason := process.check():
        raise SystemExit(reason)
    gained = {key: after[key] - before[key] for key in after}
    ticks = max(gained["ticks"], 1.0)
    return {
        "services": services,
        "ticks": gained["ticks"],
        "tick_mean_seconds": round(gained["tick_seconds"] / ticks, 2),
        "of_which_reading_seconds": round(gained["read_seconds"] / ticks, 2),
        "event_loop_cpu_seconds_per_tick": round(gained["loop"] / ticks, 2),
        "cpu_seconds_per_tick": round(gained["cpu"] / ticks, 2),
        "cpu_percent_of_a_core": round(100 * gained["cpu"] / gained["at"], 1),
        "status_writes_per_service_and_minute": round(gained["writes"] / services / gained["at"] * 60, 3),
        "memory_peak_mib_first_list": round(ready, 1),
        "memory_peak_mib": round(process.memory_mib("VmHWM"), 1),
        "memory_mib": round(process.memory_mib(), 1),
        "load_average": round(os.getloadavg()[0], 1),
    }


def _snapshot(operator: OperatorProcess) -> dict[str, float]:
    metrics, calls = operator.metrics.now(), "andante_operator_api_calls_total"
    # The Lease is renewed all the time; `calls()` leaves its calls out as well.
    reads = sum(
        metrics.total(calls, verb=verb) - metrics.total(calls, verb=verb, kind="Lease")
        for verb in ("get", "list", "discover")
    )
    return {
        "at": time.monotonic(),
        "cpu": operator.process.cpu_seconds(),
        "loop": operator.process.main_thread_cpu_seconds(),
        "ticks": metrics.total("andante_operator_ticks_total"),
        "tick_seconds": metrics.total("andante_operator_tick_seconds_sum"),
        "read_seconds": metrics.total("andante_operator_read_seconds_sum"),
        "writes": metrics.calls() - reads,
    }
