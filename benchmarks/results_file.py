"""Writes what a benchmark measured: `benchmarks/results/NAME.json` and a Markdown table generated from it.

Every file says on what machine, with what versions, settings and seeds the figures came about.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
ROOT = Path(__file__).parent.parent


def write_result(
    name: str,
    *,
    headline: Mapping[str, Any],
    settings: Mapping[str, Any],
    figures: Mapping[str, Any],
    table: tuple[Sequence[str], Sequence[Sequence[object]]],
    packages: Sequence[str],
) -> Path:
    """Writes NAME.json and NAME.md; `table` is (column names, rows). Returns the JSON's path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    document = {
        "name": name,
        "headline": dict(headline),
        "settings": dict(settings),
        "figures": dict(figures),
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": machine(),
        "versions": versions(packages),
    }
    path.write_text(json.dumps(document, indent=2) + "\n")
    columns, rows = table
    lines = [f"| {' | '.join(columns)} |", f"|{'|'.join(' --- ' for _ in columns)}|"]
    lines += [f"| {' | '.join(str(cell) for cell in row)} |" for row in rows]
    (RESULTS / f"{name}.md").write_text("\n".join(lines) + "\n")
    return path


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    model = "unknown"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "load_average_at_end": [round(load, 2) for load in os.getloadavg()],
    }


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Of Python and of each package what is installed."""
    return {"python": platform.python_version(), **{package: _version(package) for package in packages}}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    try:
        git = ["git", "describe", "--always", "--dirty"]
        return subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
