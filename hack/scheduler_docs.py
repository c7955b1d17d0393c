"""Writes the tables of the pages about the scheduler and the alerts from benchmarks/results (`make scheduler-docs`).

A table is between `<!-- NAME -->` and `<!-- /NAME -->`. The rest of a page is not changed. A test compares the pages.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"
PAGES = tuple(REFERENCE / f"{name}.md" for name in ("scheduler-settings", "scheduler-benchmarks", "alert-benchmarks"))
RESULTS = ROOT / "benchmarks" / "results"
SCHEDULERS = ("qoe+host", "qoe", "andes+host", "andes", "fcfs+host", "fcfs", "priority")


def load_table(document: Mapping[str, Any]) -> str:
    """The table of loads and schedulers in scheduler.json."""
    points = {(p["load"], p["scheduler"]): p for p in document["figures"]["points"]}
    rows: list[Sequence[object]] = []
    for load in sorted({load for load, _ in points}):
        fcfs = points.get((load, "fcfs"))
        for name in SCHEDULERS:
            point = points.get((load, name))
            if point is None:
                continue
            times = f"{point['mean_qoe'] / fcfs['mean_qoe']:.2f}" if fcfs else "unknown"
            figures = ("mean_andes_qoe", "p1_qoe", "p5_qoe", "share_good")
            whole = ("throughput", "smooth_goodput", "longest_wait", "seeds")
            rows.append(
                (
                    load,
                    name,
                    f"{point['mean_qoe']:.3f}",
                    times,
                    *(f"{point[figure]:.3f}" for figure in figures),
                    *(f"{point[figure]:.0f}" for figure in whole),
                )
            )
    columns = (
        "load", "scheduler", "mean QoE", "times FCFS's", "Andes' own QoE", "p1", "p5", "good", "tokens/s",
        "smooth goodput", "longest wait s", "seeds",
    )  # fmt: skip
    return _table(columns, rows)


def held_table(plain: Mapping[str, Any], larger: Mapping[str, Any]) -> str:
    """The table of the load that `qoe` carries relative to FCFS, in scheduler.json and with more host memory."""
    sizes = [document["settings"]["kv_offload_gib"] for document in (plain, larger)]
    rows: list[Sequence[object]] = []
    for gib, stock, document, which in (
        (0.0, 0.0, plain, ""),
        (sizes[0], 0.0, plain, "_qoe+host_over_fcfs"),
        (sizes[0], sizes[0], plain, "_qoe+host_over_fcfs+host"),
        (sizes[1], 0.0, larger, "_qoe+host_over_fcfs"),
    ):
        (figures,) = document["headline"].values()
        held = (f"{figures[f'load_ratio_at_mean_0{at}{which}']:.3f}" for at in (95, 90))
        rows.append((f"{gib:g}", f"{stock:g}", *held))
    return _table(("host memory GiB of `qoe`", "of FCFS", "at mean QoE .95", "at .90"), rows)


def kinds_table(document: Mapping[str, Any], *, good: float, per_hour: float) -> str:
    """The table of alerts and kinds of incident in alerts.json, for one promise and traffic."""
    cells = [c for c in document["figures"]["cells"] if (c["good"], c["per_hour"]) == (good, per_hour)]
    kinds = sorted(cells[0]["recall_by_kind"])
    rows = [(cell["alert"], *(cell["recall_by_kind"][kind] for kind in kinds)) for cell in cells]
    return _table(("alert", *kinds), rows)


def committed(name: str) -> Callable[[], str]:
    """The Markdown table that a benchmark wrote."""
    return lambda: (RESULTS / f"{name}.md").read_text().strip()


def _result(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())


TABLES: Mapping[str, Callable[[], str]] = {
    "scheduler": lambda: load_table(_result("scheduler")),
    "held": lambda: held_table(_result("scheduler"), _result("scheduler-host-480")),
    "surge": committed("scheduler-surge"),
    "host-kv": committed("scheduler-host-kv"),
    "clairvoyant": committed("scheduler-clairvoyant"),
    "real-time": committed("scheduler-real-time"),
    "ablation": committed("scheduler-ablation"),
    "ablation-surge": committed("scheduler-ablation-surge"),
    "ablation-pace": committed("scheduler-ablation-pace"),
    "ablation-code": committed("scheduler-ablation-code"),
    "ablation-queue": committed("scheduler-ablation-queue"),
    "decision": committed("decision"),
    "uncontended": committed("uncontended"),
    "alerts": committed("alerts"),
    "alert-kinds": lambda: kinds_table(_result("alerts"), good=0.99, per_hour=200),
    "rules": committed("rules"),
}


def render(page: str) -> str:
    """`page` with its tables filled in."""
    for name, table in TABLES.items():
        start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, found, rest = page.partition(start)
        if found:
            page = f"{before}{start}\n{table()}\n\n{end}{rest.partition(end)[2]}"
    return page


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [f"| {' | '.join(columns)} |", f"|{'|'.join(' --- ' for _ in columns)}|"]
    return "\n".join([*lines, *(f"| {' | '.join(str(cell) for cell in row)} |" for row in rows)])


def main() -> int:
    """Write the pages."""
    for page in PAGES:
        page.write_text(render(page.read_text()))
        print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
