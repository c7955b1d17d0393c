"""What the QoE scheduler costs while nothing is short: tokens per second beside stock vLLM's, paired in one run.

Two whole servers, one with policy `qoe` and one with vLLM's own scheduling, take turns with streams that all fit. The
meter runs in both. Once with short prompts that share nothing, once with a long prefix that all share and the prefix
cache holds. Writes benchmarks/results/uncontended.json and .md. `make bench-uncontended`; wants a quiet machine.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.paired_servers import alternate, engine_config, median, median_ratio
from benchmarks.results_file import write_result
from hack.engine_process import EngineProcess

THROUGHPUT = "tokens_per_second"
PREEMPTIONS = ("andante_scheduler_preemptions_total", "andante_scheduler_out_of_blocks_preemptions_total")


def main() -> int:
    """Measures and writes the results. RuntimeError when somebody was preempted: then something was short."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--shared", type=int, nargs="+", default=[0, 1500], help="tokens that all prompts share")
    parser.add_argument("--tokens", type=int, default=120, help="per stream")
    parser.add_argument("--pairs", type=int, default=20, help="paired rounds; single ones differ by a tenth")
    arguments = parser.parse_args()
    rows: list[list[object]] = []
    figures: dict[str, Any] = {}
    headline: dict[str, float] = {}
    print("bench-uncontended: starting two engines, policy qoe and stock", flush=True)
    with EngineProcess(engine_config("qoe")) as ours, EngineProcess(engine_config("fcfs")) as stock:
        for shared, streams in itertools.product(arguments.shared, arguments.streams):
            rounds = alternate(
                {"qoe": ours, "stock": stock},
                streams=streams,
                tokens=arguments.tokens,
                pairs=arguments.pairs,
                shared=shared,
            )
            ratio = median_ratio(rounds["qoe"], rounds["stock"], THROUGHPUT)
            what = f"{streams}_streams" + (f"_{shared}_shared" if shared else "")
            figures[what] = {name: [asdict(entry) for entry in measured] for name, measured in rounds.items()}
            headline[f"throughput_ratio_{what}"] = round(ratio, 4)
            rows.append(
                [streams, shared, *(median(rounds[name], THROUGHPUT) for name in ("qoe", "stock")), f"{ratio:.3f}"]
            )
        samples = ours.metrics()
    preempted = [value for (name, _), value in samples.items() if name in PREEMPTIONS]
    if len(preempted) != len(PREEMPTIONS) or any(preempted):
        raise RuntimeError(f"preemptions (the policy's, out of blocks): {preempted}; 0 of both were expected")
    path = write_result(
        "uncontended",
        headline=headline,
        settings={**vars(arguments), "config": engine_config("qoe"), "seed": "none: no chance is involved"},
        figures=figures,
        table=(["streams", "shared tokens", "tokens/s, qoe", "tokens/s, stock", "ratio (median of pairs)"], rows),
        packages=["vllm", "numpy"],
    )
    print(f"{headline}\n{path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
