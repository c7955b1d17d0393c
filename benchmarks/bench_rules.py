"""What the rules cost Prometheus with 1,000 services of two replicas and two classes each.

A real Prometheus gets the series that the rules read: backfilled as far as each rule looks back (28 days of what was
recorded, an hour of raw counters), then scraped. It evaluates the generic rules and every service's own. Measured are
the seconds of evaluation a minute, the samples that the largest query reads, and the series and bytes of rules of a
service. Writes benchmarks/results/rules.json and .md. `make bench-rules`; wants a quiet machine.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import yaml
from benchmarks.operator_bench.processes import Process
from benchmarks.results_file import write_result
from hack.free_ports import free_ports
from hack.localcluster.progress import say, wait_until

from andante.domain import metric_names
from andante.domain.pace import PRESETS
from andante.domain.slo import recording
from andante.domain.slo.promise import DAY, HOUR, Promise
from andante.domain.slo.rules import generic_groups, rule_file, service_groups
from debian_programs import program

CLASSES = (PRESETS["reading"], PRESETS["voice"])
PROMISE = Promise(good_fraction=0.99, window=28 * DAY)
SCRAPE, MINUTE, ROUND = 15.0, 60.0, 300.0
"""Seconds between two scrapes, and between two evaluations of the quick and of the slow rules."""
PER_SECOND, BAD = 0.05, 0.002
"""Requests of a class on a replica, and the share of them that is bad."""


class World:
    """The series, each a function of time."""

    def __init__(self, *, services: int, replicas: int) -> None:
        self._services, self._replicas = services, replicas
        self.epoch = time.time() - 40 * DAY
        """When all counters were 0."""

    def names(self) -> Iterator[tuple[str, str]]:
        """Namespace and name of each service."""
        for number in range(self._services):
            yield f"team-{number % 50}", f"s{number:04d}"

    def services(self) -> Iterator[str]:
        """Labels of each service's series; the others add those of classes and pods."""
        for namespace, name in self.names():
            yield f'namespace="{namespace}",llmservice="{name}"'

    def of_classes(self) -> Iterator[str]:
        for service in self.services():
            for qoe_class in CLASSES:
                yield f'{service},qoe_class="{qoe_class.name}"'

    def of_pods(self) -> Iterator[str]:
        for service in self.services():
            for replica in range(self._replicas):
                yield f'{service},pod="{replica}"'

    def of_pods_and_classes(self) -> Iterator[str]:
        for pod in self.of_pods():
            for qoe_class in CLASSES:
                yield f'{pod},qoe_class="{qoe_class.name}"'

    def scraped(self, at: float) -> Iterator[tuple[str, Iterator[str], str]]:
        """Name, labels of each series, and the value that all of them have at a time."""
        requests = PER_SECOND * (at - self.epoch)
        yield metric_names.SCORED_REQUESTS, self.of_pods_and_classes(), f"{requests:.3f}"
        yield metric_names.GOOD_REQUESTS, self.of_pods_and_classes(), f"{requests * (1 - BAD):.3f}"
        for name in ("vllm:generation_tokens_total", "vllm:prompt_tokens_total"):
            yield name, self.of_pods(), f"{300 * requests:.0f}"
        yield metric_names.SCHEDULER_RECOMPUTED_TOKENS, self.of_pods(), f"{requests:.0f}"
        yield metric_names.SERVICE_DESIRED_REPLICAS, self.services(), str(self._replicas)

    def page(self) -> str:
        """What a scrape of everything shows now."""
        now = time.time()
        rows: list[tuple[str, Iterator[str], str]] = [
            *self.scraped(now),
            (metric_names.OPEN_REQUESTS, self.of_pods_and_classes(), "2"),
            (metric_names.OPEN_BAD_REQUESTS, self.of_pods_and_classes(), "0"),
            (metric_names.SERVICE_READY_REPLICAS, self.services(), str(self._replicas)),
            (metric_names.SERVICE_GOOD_RATIO, self.services(), "0.998"),
            (metric_names.SLO_OBJECTIVE_RATIO, self.services(), "0.99"),
            (metric_names.SLO_BUDGET_REMAINING_RATIO, self.services(), "0.8"),
        ]
        lines = [f"{name}{{{labels}}} {value}" for name, all_labels, value in rows for labels in all_labels]
        for condition in ("Ready", "AbleToScale", "ScalingActive", "Degraded", "EngineCompatible"):
            lines += [
                f'{metric_names.SERVICE_CONDITION}{{{labels},type="{condition}",status="True",reason="Ok"}} 1'
                for labels in self.services()
            ]
        lines.append(f"andante_operator_ticks_total {int((now - self.epoch) / SCRAPE)}")
        return "\n".join(lines) + "\n"

    def history(self, until: float) -> Iterator[str]:
        """OpenMetrics lines of all that the rules look back at."""
        of_replicas = self._replicas * PER_SECOND
        for name, series, value, back, step in (
            (recording.REQUESTS_5M, self.services, len(CLASSES) * of_replicas * ROUND, 28 * DAY, ROUND),
            (recording.CLASS_REQUESTS_5M, self.of_classes, of_replicas * ROUND, 3 * DAY, ROUND),
            (recording.CLASS_BAD_5M, self.of_classes, BAD * of_replicas * ROUND, 3 * DAY, ROUND),
            (recording.CLASS_REQUESTS_RATE, self.of_classes, of_replicas, 6 * HOUR, MINUTE),
            (recording.CLASS_BAD_RATE, self.of_classes, BAD * of_replicas, 6 * HOUR, MINUTE),
        ):
            times = [until - step * k for k in range(int(back / step), 0, -1)]
            for labels in series():
                yield "".join(f"{name}{{{labels}}} {value:.6f} {at:.0f}\n" for at in times)
        back = {metric_names.SERVICE_DESIRED_REPLICAS: 2 * HOUR}
        for index, (name, _, _) in enumerate(self.scraped(until)):
            times = [until - SCRAPE * k for k in range(int(back.get(name, HOUR) / SCRAPE), 0, -1)]
            values = [(next(v for i, (_, _, v) in enumerate(self.scraped(at)) if i == index), at) for at in times]
            for labels in list(self.scraped(until))[index][1]:
                yield "".join(f"{name}{{{labels}}} {value} {at:.0f}\n" for value, at in values)
        yield "# EOF\n"


def main() -> int:
    """Measures and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--replicas", type=int, default=2, help="of each service")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long the rules are measured")
    parser.add_argument(
        "--suite", default="", help="Debian suite of the Prometheus, such as forky; else this machine's"
    )
    arguments = parser.parse_args()
    world = World(services=arguments.services, replicas=arguments.replicas)
    with tempfile.TemporaryDirectory(prefix="andante-bench-rules-") as name:
        found = _measure(world, Path(name), arguments)
    rows = [[what, figure] for what, figure in found["headline"].items()]
    path = write_result(
        "rules",
        headline=found["headline"],
        settings={**vars(arguments), "classes": len(CLASSES), "seed": "none: no chance is involved"},
        figures={"samples_by_expression": found["samples"], "version": found["version"]},
        table=(["figure", "value"], rows),
        packages=[],
    )
    print(f"{found['headline']}\n{path}")
    return 0


def _measure(world: World, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    own = [
        group
        for namespace, name in world.names()
        for group in service_groups(namespace=namespace, name=name, promise=PROMISE, classes=CLASSES)
    ]
    generic = generic_groups()
    (folder / "generic.yaml").write_text(yaml.safe_dump(rule_file(generic), width=10_000))
    (folder / "own.yaml").write_text(yaml.safe_dump(rule_file(own), width=10_000))
    _backfill(world, folder, arguments.suite)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Page, world))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    config = {
        "global": {"scrape_interval": f"{SCRAPE:g}s", "scrape_timeout": "10s"},
        "rule_files": ["generic.yaml", "own.yaml"],
        "scrape_configs": [
            {
                "job_name": "all",
                "honor_labels": True,
                "static_configs": [{"targets": [f"127.0.0.1:{server.server_address[1]}"]}],
            }
        ],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    prometheus = program("prometheus", suite=arguments.suite)
    command = [str(prometheus.path), f"--config.file={folder / 'prometheus.yaml'}", "--web.enable-admin-api"]
    command += [f"--storage.tsdb.path={folder / 'tsdb'}", "--storage.tsdb.retention.time=60d"]
    command += [f"--web.listen-address=127.0.0.1:{port}"]
    process = Process(command, log=folder / "prometheus.log", environment={**os.environ, **prometheus.environment})
    ask = partial(_ask, httpx.Client(base_url=url, timeout=120, trust_env=False))
    try:
        # The slow rules' first round comes within five minutes of the start.
        wait_until(
            lambda: _rounds(ask) >= len(generic) + len(own),
            what="each group of rules to be evaluated once",
            timeout_seconds=900,
            still_possible=process.check,
            poll_seconds=5.0,
        )
        before, cpu, began = _evaluated(ask), process.cpu_seconds(), time.monotonic()
        say(f"measuring for {arguments.minutes:g} minutes")
        time.sleep(60 * arguments.minutes)
        minutes = (time.monotonic() - began) / 60
        seconds = (_evaluated(ask) - before) / minutes
        cpu_a_minute = (process.cpu_seconds() - cpu) / minutes
        samples = {
            rule.get("record") or rule["alert"]: _samples(ask, rule["expr"])
            for group in (*generic, *own[:2])
            for rule in group["rules"]
        }
        _, service = next(world.names())
        recorded = _value(ask, f'count({{__name__=~"llmservice.*:.*",llmservice="{service}"}})')
        failures = _value(ask, "sum(prometheus_rule_evaluation_failures_total)")
        missed = _value(ask, "sum(prometheus_rule_group_iterations_missed_total)")
        version = ask("/api/v1/status/buildinfo")["version"]
        memory = process.memory_mib("VmHWM")
    finally:
        process.stop()
        server.shutdown()
    if failures:
        raise RuntimeError(f"{failures:g} evaluations failed")
    largest = max(samples, key=lambda name: samples[name])
    say(f"largest query: {largest}")
    return {
        "headline": {
            "evaluation_seconds_a_minute": round(seconds, 3),
            "cpu_seconds_a_minute": round(cpu_a_minute, 2),
            "samples_of_the_largest_query": samples[largest],
            "recorded_series_a_service": recorded,
            "rule_bytes_a_service": len(yaml.safe_dump(rule_file(own[:2]), width=10_000)),
            "rounds_missed": missed,
            "prometheus_memory_peak_mib": round(memory),
        },
        "samples": samples,
        "version": version,
    }


def _backfill(world: World, folder: Path, suite: str) -> None:
    text = folder / "history.om"
    say("writing the history")
    with text.open("w") as file:
        file.writelines(world.history(time.time()))
    say(f"making blocks of {text.stat().st_size / 2**20:.0f} MiB of it")
    promtool = program("promtool", suite=suite) if suite else program("prometheus", name="promtool")
    command = [str(promtool.path), "tsdb", "create-blocks-from", "openmetrics", "--quiet", "--max-block-duration=744h"]
    subprocess.run([*command, str(text), str(folder / "tsdb")], check=True, env={**os.environ, **promtool.environment})
    text.unlink()


class _Page(BaseHTTPRequestHandler):
    def __init__(self, world: World, *given: Any) -> None:
        self._world = world
        super().__init__(*given)

    def do_GET(self) -> None:
        body = self._world.page().encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """No line for each scrape."""


def _ask(client: httpx.Client, path: str, **parameters: str) -> Any:
    return client.get(path, params=parameters).raise_for_status().json()["data"]


def _value(ask: Any, query: str) -> float:
    """Of a query with one row; 0 where it has none."""
    result = ask("/api/v1/query", query=query)["result"]
    return float(result[0]["value"][1]) if result else 0.0


def _rounds(ask: Any) -> int:
    """Groups that were evaluated at least once."""
    try:
        groups = ask("/api/v1/rules")["groups"]
    except httpx.HTTPError:
        return 0
    return sum(not group["lastEvaluation"].startswith("0001") for group in groups)


def _evaluated(ask: Any) -> float:
    """Seconds that all groups have taken since the start."""
    text = ask.args[0].get("/metrics").text
    lines = [line for line in text.splitlines() if line.startswith("prometheus_rule_group_duration_seconds_sum")]
    return float(lines[0].split()[1])


def _samples(ask: Any, query: str) -> int:
    """Samples that a query reads."""
    return int(ask("/api/v1/query", query=query, stats="all")["stats"]["samples"]["totalQueryableSamples"])


if __name__ == "__main__":
    sys.exit(main())
