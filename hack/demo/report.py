"""report.html of the demo: what users felt, what the scaler saw, and what it bought, on one time axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from hack.demo.watch import Sample

# Okabe and Ito's palette: told apart by people with any kind of colour vision.
BLUE, ORANGE, GREEN, VERMILION, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientPoint:
    """What the readers of one slice of the replay got."""

    at: float
    """End of the slice, seconds since the replay began."""
    arrivals_per_second: float
    mean_qoe: float | None
    """Mean QoE of the requests that ended in the slice; None where none ended."""
    open_requests: int


def write_report(
    path: Path,
    *,
    table: Sequence[tuple[str, str]],
    points: Sequence[ClientPoint],
    samples: Sequence[Sample],
    changes: Sequence[Sample],
) -> None:
    """One self-contained HTML file (no network needed to open it)."""
    figure = make_subplots(
        rows=4,
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.05,
        subplot_titles=(
            "Arrivals (requests/s) and requests open at the client",
            "Mean QoE of requests that ended (client), and QoE deficit (operator)",
            "Smooth goodput as the operator measured it (tokens/s)",
            "Replicas",
        ),
    )
    at = [p.at for p in points]
    seen = [s.at for s in samples]

    def line(row: int, x: list[float], y: list[float | None] | list[float] | list[int], name: str, colour: str) -> None:
        shape = "hv" if row == 4 else "linear"
        figure.add_trace(
            go.Scatter(x=x, y=y, name=name, mode="lines", line={"color": colour, "shape": shape}, connectgaps=False),
            row=row,
            col=1,
        )

    line(1, at, [p.arrivals_per_second for p in points], "arrivals/s", BLUE)
    line(1, at, [p.open_requests for p in points], "open requests", SKY)
    line(2, at, [p.mean_qoe for p in points], "mean QoE (client)", GREEN)
    line(2, seen, [s.deficit for s in samples], "QoE deficit (operator)", VERMILION)
    line(3, seen, [s.smooth_goodput for s in samples], "smooth goodput", GREEN)
    line(4, seen, [s.replicas for s in samples], "replicas", BLUE)
    line(4, seen, [s.ready for s in samples], "ready", ORANGE)
    figure.update_layout(height=1000, template="plotly_white", legend={"orientation": "h"})
    figure.update_xaxes(title_text="seconds of the replay", row=4, col=1)
    rows = "".join(f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in table)
    why = "".join(
        f"<tr><td>{s.at:.0f} s</td><td>{s.desired}</td><td>{escape(s.reason)}</td><td>{escape(s.message)}</td></tr>"
        for s in changes
    )
    path.write_text(
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>Andante demo</title>"
        "<style>body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem}"
        "th{text-align:left;padding-right:2rem}td,th{border-bottom:1px solid #ddd}</style>"
        "<h1>Andante demo</h1><p>A real Kubernetes, real vLLM pods on a virtual GPU, ten minutes of the Azure 2023 "
        "conversation trace, compressed in time and thinned to a base load with one surge.</p>"
        f"<table>{rows}</table><h2>What the scaler did, and why</h2>"
        f"<table><tr><th>when</th><th>replicas wanted</th><th>reason</th><th>in words</th></tr>{why}</table>"
        + figure.to_html(full_html=False, include_plotlyjs=True)
        + "</html>",
        encoding="utf-8",
    )
