"""The tables of the league's page from benchmarks/results/league.json, as Markdown. Pure: a document in, text out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hack.scheduler_tables import UNKNOWN, table

POOLED = "pooled_one_configuration"
COLUMNS = (
    "promise", "conditions", "workload", "ours keeps it on", "over best rival", "best rival (keeps it on)",
    "over planner with our capacity", "over hindsight", "scheduler alone", "scaler alone", "both",
)  # fmt: skip


def pooled_table(document: Mapping[str, Any]) -> str:
    """One row for each promise and conditions: all workloads with one configuration."""
    rows = _table((row for row in _standings(document) if row[2] == POOLED), "all")
    return f"{warning(document)}\n\n{rows}"


def workloads_table(document: Mapping[str, Any]) -> str:
    """One row for each workload."""
    return _table((row for row in _standings(document) if row[2] != POOLED), "")


def _standings(document: Mapping[str, Any]) -> Iterator[tuple[str, str, str, Mapping[str, Any]]]:
    for promise, groups in document["headline"].items():
        if isinstance(groups, Mapping):
            for conditions, workloads in groups.items():
                for workload, standing in workloads.items():
                    yield promise, conditions, workload, standing


def warning(document: Mapping[str, Any]) -> str:
    """What a reader must know of the tables before them."""
    head = document["headline"]
    parts = [] if head["complete"] else ["Not all of the league was played."]
    parts += [] if head["tuned"] else ["Nothing was tuned: every law has its authors' settings."]
    settings = document["settings"]
    parts.append(f"Seeds {', '.join(map(str, settings['seeds_judged']))}; code {settings['sources']}.")
    return " ".join(parts)


def _table(rows: Iterator[tuple[str, str, str, Mapping[str, Any]]], name: str) -> str:
    return table(COLUMNS, [(promise, at, name or workload, *_cells(found)) for promise, at, workload, found in rows])


def _cells(found: Mapping[str, Any]) -> Iterator[str]:
    total = found["of_workloads"]
    yield _of(found["keeps_promise_on"], total)
    yield _number(found["gpu_hours_over_best_tuned_rival"])
    rival = found["best_rival"]
    yield UNKNOWN if rival is None else f"{rival} ({_of(found['best_rival_keeps_promise_on'], total)})"
    planner = found["gpu_hours_over_planner_with_our_capacity"]
    yield f"{_number(planner)} ({_of(found['planner_with_our_capacity_keeps_promise_on'], total)})"
    yield from (_number(found[name]) for name in ("gpu_hours_over_oracle", "scheduler_alone", "scaler_alone", "both"))


def _of(met: int | None, total: int) -> str:
    return UNKNOWN if met is None else f"{met} of {total}"


def _number(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.2f}"
