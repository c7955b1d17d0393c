"""What the delivery meter costs: tokens per second of 128 streams with it and without it, paired in one run.

Two servers that differ in the meter alone run side by side and take turns; the API server is the limit. Beside
throughput its CPU time per token is reported: it depends less on who else runs.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.paired_servers import alternate, engine_config, median, median_ratio
from benchmarks.results_file import write_result
from hack.engine_process import EngineProcess

CONFIG = engine_config("fcfs")  # vLLM's own: the meter alone is measured
THROUGHPUT, CPU = "tokens_per_second", "api_server_cpu_microseconds_per_token"


def main() -> int:
    """Measures and writes benchmarks/results/meter.json and .md. RuntimeError when a request was not counted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=120, help="per stream")
    parser.add_argument("--pairs", type=int, default=40, help="paired rounds; single ones differ by a tenth")
    arguments = parser.parse_args()
    print("bench-meter: starting two engines, with and without the meter", flush=True)
    with EngineProcess(CONFIG) as metered, EngineProcess(CONFIG, meter=False) as bare:
        rounds = alternate({"with": metered, "without": bare}, **vars(arguments))
        samples = metered.metrics()
        counted = sum(value for (name, _), value in samples.items() if name == "andante_requests_total")
    expected = arguments.streams * (arguments.pairs + 1)
    if counted != expected:
        raise RuntimeError(f"the meter counted {counted:.0f} requests, {expected} were sent")
    with_meter, without = rounds["with"], rounds["without"]
    throughput = median_ratio(with_meter, without, THROUGHPUT)
    cpu = median_ratio(with_meter, without, CPU)
    headline = {
        f"throughput_ratio_{arguments.streams}_streams": round(throughput, 4),
        "api_server_cpu_ratio": round(cpu, 4),
    }
    path = write_result(
        "meter",
        headline=headline,
        settings={**vars(arguments), "config": CONFIG, "seed": "none: every request is the same"},
        figures={
            "with_meter": [asdict(entry) for entry in with_meter],
            "without": [asdict(entry) for entry in without],
        },
        table=(
            ["server", "tokens/s (median)", "API server CPU us/token (median)"],
            [
                ["with the meter", median(with_meter, THROUGHPUT), median(with_meter, CPU)],
                ["without", median(without, THROUGHPUT), median(without, CPU)],
                ["ratio (median of pairs)", f"{throughput:.3f}", f"{cpu:.3f}"],
            ],
        ),
        packages=["vllm", "uvicorn", "prometheus-client"],
    )
    print(f"{headline}\n{path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
