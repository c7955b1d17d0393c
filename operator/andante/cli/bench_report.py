"""report.html of `andante bench`: one self-contained file that opens without a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from andante.cli.bench import RequestResult

# Okabe and Ito's palette: told apart by people with any kind of colour vision.
BLUE, GREEN, VERMILION = "#0072B2", "#009E73", "#D55E00"


def flatten(figures: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Rows of (name, value) in words, for tables; what is not known reads "unknown"."""
    rows: list[tuple[str, str]] = []
    for key, value in figures.items():
        if isinstance(value, Mapping):
            rows += flatten(value, f"{prefix}{key} ")
        else:
            text = "unknown" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
            rows.append((prefix + key, text))
    return rows


def write_report(path: Path, *, title: str, scores: Mapping[str, Any], results: Sequence[RequestResult]) -> None:
    """Scores as a table; QoE and TTFT over the time of arrival, and the distribution of QoE."""
    figure = make_subplots(rows=3, cols=1, subplot_titles=("QoE by arrival", "TTFT by arrival (s)", "QoE, cumulative"))
    at = [r.arrival for r in results if r.score.qoe is not None]
    qoe = [r.score.qoe for r in results if r.score.qoe is not None]
    figure.add_trace(go.Scatter(x=at, y=qoe, mode="markers", marker={"color": BLUE, "size": 4}), row=1, col=1)
    answered = [r for r in results if r.delivery]
    figure.add_trace(
        go.Scatter(
            x=[r.arrival for r in answered],
            y=[r.delivery[0] for r in answered],
            mode="markers",
            marker={"color": VERMILION, "size": 4},
            name="TTFT",
        ),
        row=2,
        col=1,
    )
    ordered = sorted(qoe)
    share = [(i + 1) / len(ordered) for i in range(len(ordered))]
    figure.add_trace(go.Scatter(x=ordered, y=share, mode="lines", line={"color": GREEN}), row=3, col=1)
    figure.update_layout(height=900, template="plotly_white", showlegend=False)
    rows = "".join(f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in flatten(scores))
    path.write_text(
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{escape(title)}</title>"
        "<style>body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem}"
        "th{text-align:left;padding-right:2rem}td,th{border-bottom:1px solid #ddd}</style>"
        f"<h1>{escape(title)}</h1><table>{rows}</table>{figure.to_html(full_html=False, include_plotlyjs=True)}</html>",
        encoding="utf-8",
    )
