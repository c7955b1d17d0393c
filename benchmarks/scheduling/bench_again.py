"""Is a violation in the sweep the policy's, or its seed's? Each such point again, with ten times other arrivals.

A point of the sweep has about 500 readers: one or two who leave are .2 to .4 points. Reads
benchmarks/results/scheduler-sweep.json; writes scheduler-again.json and .md there, with the 95 % interval over the
seeds. Cached like bench_scheduler's runs. `make bench-again`, after bench-sweep.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from benchmarks.results_file import RESULTS, write_result
from benchmarks.scheduling.checks import SEEDS, beyond_limits, interval, verdict
from benchmarks.scheduling.pairs import OURS, STOCK, compare, requests_of
from benchmarks.scheduling.provenance import provenance
from benchmarks.scheduling.runs import RunSpec
from benchmarks.scheduling.stock import BEST

FIRST_SEED = 21
"""No seed of the tuning, nor of the sweep."""
_KEYS = {
    "mean QoE": ("mean_qoe", ".4f"),
    "smooth goodput": ("smooth_goodput", ".1f"),
    "tokens/s": ("throughput", ".1f"),
    "share who left": ("share_left", ".2%"),
}
COLUMNS = (
    "requests", "profile", "pace", "load", "patience s", "worse in", "difference in the sweep",
    "difference over the seeds", "mean QoE over the seeds", "verdict",
)  # fmt: skip


def look_again(point: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Both runs of a point of the sweep with each of the other seeds."""
    known = {field.name for field in fields(RunSpec)}
    asked = {key: value for key, value in point.items() if key in known}
    pairs = []
    for seed in range(FIRST_SEED, FIRST_SEED + SEEDS):
        pair = compare(RunSpec(**{**asked, "scheduler": "", "seed": seed}))
        assert pair is not None
        pairs.append(pair)
    return pairs


def main() -> int:
    """Runs what is missing and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    sweep = json.loads((RESULTS / "scheduler-sweep.json").read_text())
    rows: list[list[object]] = []
    found: list[dict[str, Any]] = []
    for first in sweep["figures"]["points"]:
        wrong = [name for name, beyond in beyond_limits(first[OURS], first[STOCK]).items() if beyond > 0]
        if not wrong:
            continue
        point = first["point"]
        pairs = look_again(point)
        for name in wrong:
            key, form = _KEYS[name]
            middle, half = interval([pair[OURS][key] - pair[STOCK][key] for pair in pairs])
            gain, _ = interval([pair[OURS]["mean_qoe"] - pair[STOCK]["mean_qoe"] for pair in pairs])
            says = verdict([beyond_limits(pair[OURS], pair[STOCK])[name] for pair in pairs])
            found.append({"point": point, "what": name, "difference": middle, "half_width": half, "verdict": says})
            rows.append(
                [
                    requests_of(point), point["profile"], f"{point['pace']:g}", f"{point['load']:g}",
                    "endless" if point["patience"] is None else f"{point['patience']:g}", name,
                    f"{first[OURS][key] - first[STOCK][key]:+{form}}", f"{middle:+{form}} ± {half:{form}}",
                    f"{gain:+.4f}", says,
                ]
            )  # fmt: skip
            print(*rows[-1], flush=True)
    counts = {says: sum(f["verdict"] == says for f in found) for says in ("worse", "not decided", "not worse")}
    write_result(
        "scheduler-again",
        headline=counts,
        settings={
            **provenance(
                "bench-again", seeds=range(FIRST_SEED, FIRST_SEED + SEEDS),
                profiles=sorted({f["point"]["profile"] for f in found}),
                lengths=sorted({f["point"]["lengths"] for f in found}),
            ),
            "stock": str(BEST), "sweep": sweep["settings"],
        },
        figures={"points": found},
        table=(COLUMNS, rows),
        packages=["vllm", "numpy", "numba"],
    )  # fmt: skip
    print(counts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
