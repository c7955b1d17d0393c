"""What Andante adds to an engine's start: the copy of its package, and the policy's compilation, cold and warm.

Four starts a round, one after the other: vLLM alone and Andante from a copied package as in a pod, each with an empty
cache volume of its own and then with what that start left there (vLLM keeps something there, too). Weights are not
loaded: on a GPU the compilation runs beside that, so what it adds there is less.
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
STOCK_COLD, COLD = "vLLM alone, empty cache", "Andante, empty cache"
STOCK_WARM, WARM = "vLLM alone, cache kept", "Andante, cache kept"


def main() -> int:
    """Measures and writes benchmarks/results/startup.json and .md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    seconds: dict[str, list[float]] = {STOCK_COLD: [], COLD: [], STOCK_WARM: [], WARM: []}
    copies: list[float] = []
    compiled: list[float] = []
    size = 0
    for number in range(rounds):
        with tempfile.TemporaryDirectory(prefix="andante-startup-") as scratch:
            package = Path(scratch, "package")
            package.mkdir()
            started = time.perf_counter()
            size = copy_to(package)
            copies.append(time.perf_counter() - started)
            stock, ours = _caches(Path(scratch, "stock")), _caches(Path(scratch, "ours"))
            for name in (STOCK_COLD, STOCK_WARM):
                seconds[name].append(_start("fcfs", package, stock, meter=False)[0])
            for name in (COLD, WARM):
                took, log = _start("qoe", package, ours)
                seconds[name].append(took)
                found = [float(one) for one in COMPILED.findall(log)]
                if len(found) != (name == COLD):
                    raise RuntimeError(f"{name}: {len(found)} compilations\n{log[-2000:]}")
                compiled += found
        told = ", ".join(f"{name} {took[-1]:.1f} s" for name, took in seconds.items())
        print(f"round {number + 1} of {rounds}: {told}", flush=True)

    def added(ours: str, stock: str) -> float:
        return statistics.median(a - b for a, b in zip(seconds[ours], seconds[stock], strict=True))

    headline = {
        "package_kib": round(size / 1024),
        "copy_seconds": round(statistics.median(copies), 3),
        "compilation_seconds": round(statistics.median(compiled), 1),
        "added_cold_seconds": round(added(COLD, STOCK_COLD), 1),
        "added_warm_seconds": round(added(WARM, STOCK_WARM), 1),
    }
    path = write_result(
        "startup",
        headline=headline,
        settings={"rounds": rounds, "config": engine_config("qoe"), "seed": "none: no requests"},
        figures={"seconds_to_ready": seconds, "copy_seconds": copies, "compilation_seconds": compiled},
        table=(
            ["cache volume", "vLLM alone, seconds to ready (median)", "Andante", "more"],
            [
                [
                    what,
                    f"{statistics.median(seconds[stock]):.1f}",
                    f"{statistics.median(seconds[ours]):.1f}",
                    f"{added(ours, stock):+.1f}",
                ]
                for what, stock, ours in (("empty", STOCK_COLD, COLD), ("kept", STOCK_WARM, WARM))
            ],
        ),
        packages=["vllm", "numba"],
    )
    print(f"{headline}\n{path}")
    return 0


def _caches(folder: Path) -> dict[str, str]:
    return {
        "ANDANTE_ENGINE_CACHE": str(folder),
        "NUMBA_CACHE_DIR": str(folder / "numba"),
        "VLLM_CACHE_ROOT": str(folder / "vllm"),
    }


def _start(policy: str, package: Path, environment: Mapping[str, str], *, meter: bool = True) -> tuple[float, str]:
    """Seconds from the process to /health, and the log."""
    entry = (sys.executable, str(package / "engine"))
    engine = EngineProcess(engine_config(policy), environment=environment, meter=meter, entry=entry)
    started = time.perf_counter()
    with engine:
        return time.perf_counter() - started, engine.log


if __name__ == "__main__":
    sys.exit(main())
