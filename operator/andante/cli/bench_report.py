"""Writes report.html of `andante bench`: one self-contained file that opens without a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from andante.cli.bench import RequestResult
from andante.cli.report import BLUE, GREEN, VERMILION, flatten, write_page


def write_report(path: Path, *, title: str, scores: Mapping[str, Any], results: Sequence[RequestResult]) -> None:
    """Write the scores as a table, and plots of load, QoE and TTFT over the arrivals and of the distribution of QoE."""
    figure = make_subplots(
        rows=4,
        cols=1,
        vertical_spacing=0.07,
        subplot_titles=(
            "Requests open",
            "QoE by arrival",
            "TTFT by arrival (s)",
            "Share of requests with at most this QoE",
        ),
    )
    scored = [(r.arrival, r.score.qoe) for r in results if r.score.qoe is not None]
    answered = [(r.arrival, r.score.ttft) for r in results if r.score.ttft is not None]
    ordered = sorted(qoe for _, qoe in scored)
    shares = [(qoe, (i + 1) / len(ordered)) for i, qoe in enumerate(ordered)]
    panels = (
        (_open_requests(results), "requests", "lines", BLUE, "hv"),
        (scored, "QoE", "markers", GREEN, "linear"),
        (answered, "TTFT (s)", "markers", VERMILION, "linear"),
        (shares, "share", "lines", GREEN, "hv"),
    )
    for row, (points, name, mode, colour, shape) in enumerate(panels, 1):
        style = {"marker": {"color": colour, "size": 4}, "line": {"color": colour, "shape": shape}}
        x, y = [p[0] for p in points], [p[1] for p in points]
        figure.add_trace(go.Scatter(x=x, y=y, name=name, mode=mode, **style), row=row, col=1)
        figure.update_xaxes(title_text="QoE" if row == 4 else "seconds of the replay", row=row, col=1)
        figure.update_yaxes(title_text=name, row=row, col=1)
    figure.update_layout(height=1300, template="plotly_white", showlegend=False)
    late = ["The load generator was late: these figures measure its machine too."]
    write_page(
        path,
        title=title,
        warnings=late if scores["generator_was_late"] else [],
        tables=[(None, flatten(scores))],
        figure=figure,
    )


def _open_requests(results: Sequence[RequestResult]) -> list[tuple[float, float]]:
    """(second of the replay, requests open from then on)."""
    changes = [(r.arrival + r.lateness, 1) for r in results]
    changes += [(r.arrival + r.lateness + r.duration, -1) for r in results]
    level, points = 0, []
    for at, change in sorted(changes):
        level += change
        points.append((at, float(level)))
    return points
