"""What Andante adds to an engine's start: the copy of its package, and the policy's compilation, cold and warm.

Three starts a round, one after the other, each from the copied package as in a pod: vLLM's own scheduling without the
meter, ours with an empty cache volume, ours again with what that start left there. Weights are not loaded: on a GPU
the compilation runs beside it, so what it adds there is less.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.paired_servers import engine_config
from benchmarks.results_file import write_result
from hack.engine_process import EngineProcess

from andante.engine_package import copy_to

COMPILED = re.compile(r"scheduling policy compiled in ([0-9.]+) s")
STOCK, COLD, WARM = "vLLM alone", "Andante, empty cache", "Andante, cache kept"


def main() -> int:
    """Measures and writes benchmarks/results/startup.json and .md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    seconds: dict[str, list[float]] = {STOCK: [], COLD: [], WARM: []}
    copies: list[float] = []
    compiled: list[float] = []
    size = 0
    for number in range(rounds):
        with tempfile.TemporaryDirectory(prefix="andante-startup-") as scratch:
            package, cache = Path(scratch, "package"), Path(scratch, "cache")
            package.mkdir()
            started = time.perf_counter()
            size = copy_to(package)
            copies.append(time.perf_counter() - started)
            environment = {"ANDANTE_ENGINE_CACHE": str(cache), "NUMBA_CACHE_DIR": str(cache / "numba")}
            seconds[STOCK].append(_start("fcfs", package, environment, meter=False)[0])
            cold, log = _start("qoe", package, environment)
            seconds[COLD].append(cold)
            compiled += [float(found) for found in COMPILED.findall(log)]
            warm, log = _start("qoe", package, environment)
            seconds[WARM].append(warm)
            if COMPILED.search(log):
                raise RuntimeError(f"the second start compiled again:\n{log[-2000:]}")
        print(
            f"round {number + 1} of {rounds}: " + ", ".join(f"{n} {s[-1]:.1f} s" for n, s in seconds.items()),
            flush=True,
        )
    if len(compiled) != rounds:
        raise RuntimeError(f"{rounds} cold starts, {len(compiled)} compilations in their logs")

    def added(name: str) -> float:
        return statistics.median(a - b for a, b in zip(seconds[name], seconds[STOCK], strict=True))

    headline = {
        "package_kib": round(size / 1024),
        "copy_seconds": round(statistics.median(copies), 3),
        "compilation_seconds": round(statistics.median(compiled), 1),
        "added_cold_seconds": round(added(COLD), 1),
        "added_warm_seconds": round(added(WARM), 1),
    }
    path = write_result(
        "startup",
        headline=headline,
        settings={"rounds": rounds, "config": engine_config("qoe"), "seed": "none: no requests"},
        figures={"seconds_to_ready": seconds, "copy_seconds": copies, "compilation_seconds": compiled},
        table=(
            ["start", "seconds to ready (median)", "more than vLLM alone"],
            [[name, f"{statistics.median(s):.1f}", f"{added(name):+.1f}"] for name, s in seconds.items()],
        ),
        packages=["vllm", "numba"],
    )
    print(f"{headline}\n{path}")
    return 0


def _start(policy: str, package: Path, environment: Mapping[str, str], *, meter: bool = True) -> tuple[float, str]:
    """Seconds from the process to /health, and the log."""
    entry = (sys.executable, str(package / "engine"))
    engine = EngineProcess(engine_config(policy), environment=environment, meter=meter, entry=entry)
    started = time.perf_counter()
    with engine:
        return time.perf_counter() - started, engine.log


if __name__ == "__main__":
    sys.exit(main())
