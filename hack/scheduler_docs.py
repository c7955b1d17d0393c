"""Writes the tables of the pages that quote benchmarks/results (`make scheduler-docs`).

A table is between `<!-- NAME -->` and `<!-- /NAME -->`. The rest of a page is not changed. A test compares the pages.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hack import demo_tables
from hack.league_tables import pooled_table, workloads_table
from hack.scheduler_tables import gains_table, held_table, load_table, sweep_table, table, violations_table

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"
PAGES = (
    REFERENCE / "scheduler-settings.md",
    *(REFERENCE / f"{name}-benchmarks.md" for name in ("scheduler", "alert", "operator")),
    REFERENCE / "league.md",
    REFERENCE / "fidelity.md",
    REFERENCE / "demo.md",
    ROOT / "docs" / "concepts" / "scheduler.md",
)
CHECKED = (
    "scheduler", "scheduler-patience-60", "scheduler-patience-20", "scheduler-sweep", "scheduler-prefix",
    "scheduler-replay",
)  # fmt: skip
"""The results whose violations the page lists."""
RESULTS = ROOT / "benchmarks" / "results"


def kinds_table(document: Mapping[str, Any], *, good: float, per_hour: float) -> str:
    """The table of alerts and kinds of incident in alerts.json, for one promise and traffic."""
    cells = [c for c in document["figures"]["cells"] if (c["good"], c["per_hour"]) == (good, per_hour)]
    kinds = sorted(cells[0]["recall_by_kind"])
    rows = [(cell["alert"], *(cell["recall_by_kind"][kind] for kind in kinds)) for cell in cells]
    return table(("alert", *kinds), rows)


def parts_table(document: Mapping[str, Any], *, parts: Sequence[str]) -> str:
    """The figures of a result, a column for each of its parts that is named."""
    figures = document["figures"]
    return table(("figure", *parts), [(key, *(figures[part][key] for part in parts)) for key in figures[parts[0]]])


def committed(name: str) -> Callable[[], str]:
    """The Markdown table that a benchmark wrote."""
    return lambda: (RESULTS / f"{name}.md").read_text().strip()


def _if_played(write: Callable[[], str]) -> str:
    """A table of the league, which takes long to play, or that it was not played."""
    return write() if (RESULTS / "league.json").exists() else "Not played yet."


def _result(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())


TABLES: Mapping[str, Callable[[], str]] = {
    "gains": lambda: gains_table(_result("scheduler"), _result("scheduler-patience-60"), _result("scheduler-surge")),
    "estimate": committed("estimate"),
    "stock": committed("scheduler-stock"),
    "scheduler": lambda: load_table(_result("scheduler")),
    "own-classes": committed("scheduler-own-classes"),
    "own-classes-60": committed("scheduler-own-classes-60"),
    "held": lambda: held_table(_result("scheduler")),
    "patience-60": lambda: load_table(_result("scheduler-patience-60")),
    "patience-20": lambda: load_table(_result("scheduler-patience-20")),
    "violations": lambda: violations_table([_result(name) for name in CHECKED]),
    "sweep": lambda: sweep_table(_result("scheduler-sweep")),
    "prefix": lambda: sweep_table(_result("scheduler-prefix")),
    "replay": lambda: sweep_table(_result("scheduler-replay")),
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
    "operator-ticks": lambda: parts_table(
        _result("operator"), parts=("busy", "idle", "hostile", "prometheus", "resync")
    ),
    "league": lambda: _if_played(committed("league")),
    "league-pooled": lambda: _if_played(lambda: pooled_table(_result("league"))),
    "league-workloads": lambda: _if_played(lambda: workloads_table(_result("league"))),
    "demo": committed("demo"),
    "demo-verdict": lambda: demo_tables.verdict(_result("demo")),
    "demo-purchases": lambda: demo_tables.purchases_table(_result("demo")),
    "demo-in-time": lambda: demo_tables.in_time_table(_result("demo")),
    "demo-simulated": lambda: demo_tables.simulated_table(_result("demo")),
    "demo-targets": lambda: demo_tables.targets_table(_result("demo")),
    "operator-new": lambda: parts_table(_result("operator"), parts=("minimal kopf operator", "andante")),
}


def render(page: str) -> str:
    """`page` with its tables filled in."""
    for name, write in TABLES.items():
        start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, found, rest = page.partition(start)
        if found:
            page = f"{before}{start}\n{write()}\n\n{end}{rest.partition(end)[2]}"
    return page


def main() -> int:
    """Write the pages."""
    for page in PAGES:
        page.write_text(render(page.read_text()))
        print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
