"""docs/timings.md quotes what `hack/fresh_machine.sh` measured: every run, with its figures and its command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def row(name: str, run: dict[str, Any]) -> str:
    """The line of the page's table for one run."""
    minutes, seconds = divmod(run["seconds"], 60)
    return f"| {name} | {run['python']} | {minutes} min {seconds} s | {run['diskGiB']} GiB | `{run['command']}` |"


def test_the_page_has_every_run_of_the_result_file() -> None:
    page = (ROOT / "docs" / "timings.md").read_text(encoding="utf-8")
    runs = json.loads((ROOT / "benchmarks" / "results" / "first-hour.json").read_text(encoding="utf-8"))
    missing = [line for name, run in runs.items() if (line := row(name, run)) not in page]
    assert missing == [], "put these lines into docs/timings.md:\n" + "\n".join(missing)


def test_every_run_ended_well() -> None:
    runs = json.loads((ROOT / "benchmarks" / "results" / "first-hour.json").read_text(encoding="utf-8"))
    assert {name: run["exitStatus"] for name, run in runs.items()} == dict.fromkeys(runs, 0)


def test_the_page_has_the_table_of_an_engines_start() -> None:
    table = (ROOT / "benchmarks" / "results" / "startup.md").read_text(encoding="utf-8").strip()
    assert table in (ROOT / "docs" / "timings.md").read_text(encoding="utf-8")
