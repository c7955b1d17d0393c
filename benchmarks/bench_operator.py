"""`make bench-operator`: the operator on a real control plane, over many services, in parts that each stand alone.

* creation: many new LLMServices until every child is there; the minimal kopf operator beside it in the same run.
* serving: services with ready pods that answer, busy, idle, hostile and read from Prometheus; a resync.
* foreign: large ConfigMaps that carry our label and belong to nobody.

API server, etcd, controllers and engines share the machine with the operator: CPU seconds say what the operator costs,
seconds by the clock what the whole of it does. What is done is kept under the cache until its result is written: a run
that is broken off goes on where it was.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.operator_bench.creation import minimal, ours
from benchmarks.operator_bench.foreign import foreign
from benchmarks.operator_bench.serving import SCENARIOS, serving
from benchmarks.results_file import write_result
from hack.localcluster.progress import say
from hack.localcluster.settings import cache

TARGETS = {
    ("andante", "seconds_to_converge"): 60.0,
    ("andante", "api_calls_per_service"): 12.0,
    ("andante", "api_calls_when_idle"): 0.0,
    ("andante", "memory_peak_mib"): 400.0,
    ("andante", "cpu_when_idle_percent_of_a_core"): 1.0,
    **{(name, "tick_mean_seconds"): 2.0 for name in SCENARIOS},
    **{(name, "event_loop_cpu_seconds_per_tick"): 1.0 for name in SCENARIOS if name != "resync"},
    **{(name, "memory_peak_mib"): 400.0 for name in SCENARIOS},
    **{
        (name, "status_writes_per_service_and_minute"): 1.0 if scenario.busy else 0.0
        for name, scenario in SCENARIOS.items()
    },
    ("idle", "cpu_percent_of_a_core"): 1.0,
    ("foreign", "foreign_config_maps_cost_mib"): 5.0,
}
PARTS = ("creation", "serving", "foreign")
HEADLINE = {
    "tick_seconds": ("busy", "tick_mean_seconds"),
    "event_loop_seconds_per_tick": ("busy", "event_loop_cpu_seconds_per_tick"),
    "writes_per_service_minute_busy": ("busy", "status_writes_per_service_and_minute"),
    "writes_per_service_minute_idle": ("idle", "status_writes_per_service_and_minute"),
    "memory_peak_mib": ("busy", "memory_peak_mib"),
    "memory_peak_mib_resync": ("resync", "memory_peak_mib"),
    "tick_seconds_prometheus": ("prometheus", "tick_mean_seconds"),
    "event_loop_seconds_per_tick_prometheus": ("prometheus", "event_loop_cpu_seconds_per_tick"),
    "memory_peak_mib_prometheus": ("prometheus", "memory_peak_mib"),
    "converge_seconds": ("andante", "seconds_to_converge"),
    "api_calls_per_service": ("andante", "api_calls_per_service"),
    "cpu_when_idle_percent_of_a_core": ("idle", "cpu_percent_of_a_core"),
}
"""Of each figure of the headline: its part and its name there."""
PARTS_OF_A_RESULT = {"andante", "minimal kopf operator", "foreign", *SCENARIOS}
"""What has to be there before the result is written."""


class Kept:
    """What has been measured so far with the same settings."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._path = cache() / "bench-operator.json"
        known = json.loads(self._path.read_text()) if self._path.exists() else {}
        self.figures: dict[str, dict[str, float]] = known["figures"] if known.get("settings") == settings else {}
        self._settings = settings

    def keep(self, name: str, figures: dict[str, float]) -> None:
        """Note what was found, and say it."""
        self.figures[name] = figures
        self._save()
        say(f"{name}: " + ", ".join(f"{key} {value:g}" for key, value in figures.items()))

    def take(self, name: str) -> dict[str, float]:
        """What was found, to be written: the next run measures it anew."""
        figures = self.figures.pop(name)
        self._save()
        return figures

    def _save(self) -> None:
        self._path.write_text(json.dumps({"settings": self._settings, "figures": self.figures}))


@contextmanager
def _turn(lock: Path | None) -> Iterator[None]:
    """While a scenario runs: on a machine that others measure on too, each has its turn."""
    if lock is None:
        yield
        return
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main() -> int:
    """Exit status 0 when every target is met."""
    arguments = _arguments()
    sizes = {"services": arguments.services, "pods_per_service": arguments.pods, "namespaces": arguments.namespaces}
    settings = {**sizes, "idle_seconds": arguments.idle_seconds, "seconds": arguments.seconds}
    kept = Kept(settings)
    turn = lambda: _turn(arguments.lock)  # noqa: E731
    with tempfile.TemporaryDirectory(prefix="andante-bench-operator-") as name:
        folder = Path(name)
        creation = {"services": arguments.services, "idle_seconds": arguments.idle_seconds}
        if "creation" in arguments.parts:
            for who, work in (("andante", ours), ("minimal kopf operator", minimal)):
                if who not in kept.figures:
                    with turn():
                        kept.keep(who, work(folder, **creation))
        if "foreign" in arguments.parts and "foreign" not in kept.figures:
            with turn():
                kept.keep("foreign", foreign(folder, count=200))
        left = [scenario for scenario in arguments.scenarios if scenario not in kept.figures]
        if "serving" in arguments.parts and left:
            serving(
                folder,
                services=arguments.services,
                pods=arguments.pods,
                namespaces=arguments.namespaces,
                seconds=arguments.seconds,
                scenarios=left,
                prometheus=_prometheus() if any(SCENARIOS[name].prometheus for name in left) else None,
                turn=turn,
                done=kept.keep,
            )
    rows = _rows(kept.figures)
    for row in rows:
        print(*row, sep=" | ")
    missed = [row for row in rows if row[3] != "" and float(row[2]) > float(row[3])]
    for row in missed:
        say(f"missed: {row[0]}: {row[1]} is {row[2]}, at most {row[3]} was wanted")
    if not arguments.no_result and kept.figures.keys() >= PARTS_OF_A_RESULT:
        figures = {part: kept.take(part) for part in sorted(PARTS_OF_A_RESULT)}
        say(f"written: {_write(figures, {**settings, 'beside': arguments.beside})}")
    return 1 if missed else 0


def _write(figures: dict[str, dict[str, float]], settings: dict[str, Any]) -> Path:
    return write_result(
        "operator",
        headline={name: figures[part][key] for name, (part, key) in HEADLINE.items()},
        settings=settings,
        figures=figures,
        table=(("part", "figure", "measured", "at most"), _rows(figures)),
        packages=("kopf", "kubernetes", "pydantic", "uvloop", "httptools"),
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--services", type=int, default=1000, help="LLMServices (default %(default)s)")
    parser.add_argument("--pods", type=int, default=10, help="ready pods of each (default %(default)s)")
    parser.add_argument("--namespaces", type=int, default=20, help="that they are in (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each scenario (default %(default)s)")
    parser.add_argument("--idle-seconds", type=float, default=60.0, help="how long new services are watched idle")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--scenarios", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    parser.add_argument("--lock", type=Path, help="file that is locked while something is measured")
    parser.add_argument("--beside", default="nothing known", help="what else ran on the machine, for the result")
    parser.add_argument("--no-result", action="store_true", help="print only; benchmarks/results stays as it is")
    return parser.parse_args()


def _prometheus() -> Path:
    """Debian's Prometheus, on PATH or out of the package."""
    sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
    from debian_programs import program

    return program("prometheus").path


def _rows(figures: dict[str, dict[str, float]]) -> list[tuple[str, str, float, Any]]:
    return [
        (name, key, value, TARGETS.get((name, key), "")) for name, its in figures.items() for key, value in its.items()
    ]


if __name__ == "__main__":
    sys.exit(main())
