"""Keeps what `make demo` measured, beside what the simulator says of the same requests (`make bench-demo`).

It takes the demo's JSON document. The simulator gets the requests, the service, the law or the autoscaler, and the
warm-up as measured; its routing is random, so it runs with several seeds. The bars: mean QoE within .03,
replica-minutes within 10 %. Exit status: 0 whatever comes out, as a committed result may be a bad one.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

from benchmarks.demo_simulated import simulated
from benchmarks.results_file import ROOT, write_result
from hack.demo.workload import Surge, thin

from andante.cli.traces import read_trace
from andante.domain.pace import PRESETS
from andante.domain.trace import TraceRequest

SEEDS = range(10)
QOE_BAR, MINUTES_BAR = 0.03, 0.1
TARGETS = (20.0, 24.0, 28.0, 32.0, 36.0, 40.0, 48.0)
"""Requests in flight for each replica: what else the rival could have been told to aim at."""


def requests_of(settings: Mapping[str, Any]) -> list[TraceRequest]:
    """The demo's requests again."""
    return thin(
        read_trace(ROOT / "examples" / "traces" / settings["trace"]),
        surge=Surge(
            base_rate=settings["base_rate"],
            peak_rate=settings["peak_rate"],
            start=settings["surge_start"],
            duration=settings["surge_seconds"],
        ),
        speed=settings["speed"],
        seconds=settings["seconds"],
        max_prompt_tokens=settings["max_prompt_tokens"],
        max_output_tokens=settings["max_output_tokens"],
        seed=settings["seed"],
    )


def warm_up(sides: Mapping[str, Any], name: str) -> float:
    """Median of a side's measured warm-ups; of the other side's where it bought nothing. Raises ValueError for none."""
    own = [bought["warm_up_s"] for bought in sides[name]["purchases"] if bought["warm_up_s"] is not None]
    other = [b["warm_up_s"] for side in sides.values() for b in side["purchases"] if b["warm_up_s"] is not None]
    if not own and not other:
        raise ValueError("no side bought a replica that became ready: there is no warm-up to simulate with")
    return median(own or other)


def beside(demo: Mapping[str, Any], name: str, requests: Sequence[TraceRequest], *, rival: bool) -> dict[str, Any]:
    """One side as measured and as simulated, and whether both are within the bars of each other."""
    seconds = warm_up(demo["sides"], name)
    settings = demo["settings"]
    runs = [
        simulated(
            settings["service"], requests, PRESETS["reading"], warm_up=seconds, until=demo["until_s"],
            rival=settings["rival"] if rival else None, seed=seed,
        )
        for seed in SEEDS
    ]  # fmt: skip
    qoe, minutes = [run.mean_qoe for run in runs], [60 * run.replica_hours for run in runs]
    measured_qoe = demo["sides"][name]["scores"]["qoe"]["mean"]
    measured_minutes = demo["sides"][name]["replica_minutes"]
    return {
        "warm_up_s": seconds,
        "mean_qoe": {"measured": measured_qoe, "simulated": fmean(qoe), "least": min(qoe), "most": max(qoe)},
        "replica_minutes": {
            "measured": measured_minutes,
            "simulated": fmean(minutes),
            "least": min(minutes),
            "most": max(minutes),
        },
        "qoe_apart": measured_qoe - fmean(qoe),
        "replica_minutes_apart": measured_minutes / fmean(minutes) - 1,
        "within_bars": abs(measured_qoe - fmean(qoe)) <= QOE_BAR
        and abs(measured_minutes / fmean(minutes) - 1) <= MINUTES_BAR,
        "changes_of_seed_0": [[round(at), replicas] for at, replicas in runs[0].changes],
    }


def other_targets(demo: Mapping[str, Any], name: str, requests: Sequence[TraceRequest]) -> list[dict[str, float]]:
    """What the rival would have done with other targets, in the simulator."""
    found = []
    for target in TARGETS:
        runs = [
            simulated(
                demo["settings"]["service"], requests, PRESETS["reading"], warm_up=warm_up(demo["sides"], name),
                until=demo["until_s"], rival={**demo["settings"]["rival"], "in_flight": target}, seed=seed,
            )
            for seed in SEEDS
        ]  # fmt: skip
        found.append(
            {
                "in_flight": target,
                "mean_qoe": fmean(run.mean_qoe for run in runs),
                "replica_minutes": fmean(60 * run.replica_hours for run in runs),
            }
        )
    return found


def main() -> int:
    """Simulate, and write benchmarks/results/demo.json and demo.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path, help="what `make demo` wrote with --json")
    demo = json.loads(parser.parse_args().demo.read_text())
    names = list(demo["sides"])
    if len(names) < 2:
        print(f"bench-demo: there is no rival to set beside: {demo['no_rival']}", file=sys.stderr)
        return 2
    requests = requests_of(demo["settings"])
    sides = {name: beside(demo, name, requests, rival=name != names[0]) for name in names}
    ours = sides[names[0]]
    path = write_result(
        "demo",
        headline={
            "outcome": demo["verdict"]["outcome"],
            "verdict": demo["verdict"]["text"],
            "paired": demo["paired"],
            "simulated_within_bars": {name: side["within_bars"] for name, side in sides.items()},
            "qoe_apart": ours["qoe_apart"],
            "replica_minutes_apart": ours["replica_minutes_apart"],
            "in_time": {name: demo["sides"][name]["in_time"]["kept"] for name in names},
        },
        settings=demo["settings"],
        figures={
            "measured": {key: demo[key] for key in ("until_s", "figures", "complaints", "sides")},
            "simulated": sides,
            "other_targets_of_the_rival_simulated": other_targets(demo, names[1], requests),
        },
        table=(
            ["figure", *names],
            [[name, *(_text(values[side]) for side in names)] for name, values in demo["figures"].items()],
        ),
        packages=["vllm", "numpy", "numba"],
    )
    print(path)
    return 0


def _text(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}".rstrip("0").rstrip(".")


if __name__ == "__main__":
    sys.exit(main())
