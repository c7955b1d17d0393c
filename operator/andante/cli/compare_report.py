"""Writes the report of `andante compare`: the table, and the curve of readers' experience over cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from andante.cli.fleet_case import VLLM_FLAGS
from andante.cli.report import COLOURS, flatten, write_page

_FIGURES = (("mean_qoe", "mean QoE"), ("share_good", "share of good requests"))


def write_comparison(
    path: Path, *, title: str, columns: Sequence[str], cells: Sequence[Sequence[str]],
    rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any],
) -> None:  # fmt: skip
    """`rows`: scaler, scheduler, and {"mean", "half_width"} of each score; `cells`: the same as text."""
    priced = all(row["cost_usd_per_hour"]["mean"] is not None for row in rows)
    cost, unit = ("cost_usd_per_hour", "USD per hour") if priced else ("replica_hours", "replica-hours")
    figure = make_subplots(rows=2, cols=1, vertical_spacing=0.1, subplot_titles=[name for _, name in _FIGURES])
    schedulers = list(dict.fromkeys(row["scheduler"] for row in rows))
    for place, scheduler in enumerate(schedulers):
        own = sorted((r for r in rows if r["scheduler"] == scheduler), key=lambda row: row[cost]["mean"])
        colour = COLOURS[place % len(COLOURS)]
        for line, (key, _) in enumerate(_FIGURES, 1):
            figure.add_trace(
                go.Scatter(
                    x=[row[cost]["mean"] for row in own],
                    y=[row[key]["mean"] for row in own],
                    error_x={"array": [row[cost]["half_width"] or 0 for row in own]},
                    error_y={"array": [row[key]["half_width"] or 0 for row in own]},
                    text=[row["scaler"] for row in own],
                    mode="markers+text",
                    textposition="bottom center",
                    name=scheduler,
                    legendgroup=scheduler,
                    showlegend=line == 1,
                    marker={"color": colour, "size": 9},
                ),
                row=line,
                col=1,
            )
            figure.update_xaxes(title_text=unit, row=line, col=1)
    figure.update_layout(height=1000, template="plotly_white")
    write_page(
        path, title=f"andante compare: {title}",
        notes=[
            "± is half the width of the 95 % interval over the seeds. Up is better for readers, left is cheaper.",
            f"fcfs and priority are vLLM's own schedulers with its best flags ({VLLM_FLAGS}).",
        ],
        tables=[(columns, cells), (None, flatten(settings))], figure=figure,
    )  # fmt: skip
