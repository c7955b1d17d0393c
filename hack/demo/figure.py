"""Draws the report's plots: panels on one time axis. The surge is shaded; each change of replicas has a number."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from hack.demo.outcome import Demo

# Okabe and Ito's palette: people with any kind of colour vision can distinguish its colours. Line styles differ, too.
BLUE, ORANGE, GREEN, VERMILION, PURPLE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"
INK, GREY, FAINT = "#243447", "#5f6b7a", "#e6e9ed"
PANEL_PIXELS = 150
MAX_BADGES = 30
"""More numbers would overlap."""


def plot(demo: Demo) -> str:
    """An HTML fragment with the plots and the script that draws them."""
    at = [p.at for p in demo.points]
    seen = [s.at for s in demo.samples]
    titles = (
        _title("Arrivals", BLUE, "requests per second, as the clients sent them"),
        _title("Open requests", PURPLE, "at the clients"),
        _title(
            "QoE", GREEN, f"mean of the requests that ended, at the clients; dashed: the objective, {demo.target_qoe:g}"
        ),
        _title("QoE deficit by load", VERMILION, "as the operator measured it: what the scaler acts on"),
        _title("Smooth goodput", GREEN, "tokens per second that readers can use, as the operator measured it"),
        f"<b>Replicas</b>  {_swatch(ORANGE)}ready  {_swatch(BLUE)}wanted (dotted)",
    )
    figure = make_subplots(rows=len(titles), cols=1, shared_xaxes=True, vertical_spacing=0.045, subplot_titles=titles)

    def line(row: int, x: list[float], y: list[Any], name: str, colour: str, **style: Any) -> None:
        trace = go.Scatter(
            x=x, y=y, name=name, mode="lines", connectgaps=False, line={"color": colour, "width": 2, **style}
        )
        if style.get("shape") == "hv" or row in (1, 2, 4, 5):
            trace.update(fill="tozeroy" if name != "wanted" else "none", fillcolor=_faint(colour))
        figure.add_trace(trace, row=row, col=1)

    line(1, at, [p.arrivals_per_second for p in demo.points], "arrivals/s", BLUE)
    line(2, at, [p.open_requests for p in demo.points], "open requests", PURPLE)
    line(3, at, [p.mean_qoe for p in demo.points], "mean QoE", GREEN)
    line(4, seen, [s.deficit for s in demo.samples], "QoE deficit by load", VERMILION)
    line(5, seen, [s.smooth_goodput for s in demo.samples], "smooth goodput", GREEN)
    line(6, seen, [s.ready for s in demo.samples], "ready", ORANGE, shape="hv")
    line(6, seen, [s.desired for s in demo.samples], "wanted", BLUE, shape="hv", dash="dot")
    figure.add_hline(y=demo.target_qoe, row=3, col=1, line={"color": GREY, "dash": "dash", "width": 1})
    _mark(figure, demo)
    _style(figure, most=max((s.replicas for s in demo.samples), default=1), rows=len(titles))
    config = {"displayModeBar": False, "responsive": True}
    return str(figure.to_html(full_html=False, include_plotlyjs=True, config=config))


def _title(name: str, colour: str, meaning: str) -> str:
    return f"{_swatch(colour)}<b>{name}</b>  <span style='color:{GREY}'>{meaning}</span>"


def _swatch(colour: str) -> str:
    return f"<span style='color:{colour}'>■</span> "


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.15)"


def _mark(figure: Any, demo: Demo) -> None:
    end = demo.surge.start + demo.surge.duration
    figure.add_vrect(x0=demo.surge.start, x1=end, row="all", col=1, fillcolor=GREY, opacity=0.1, line_width=0)
    for number, change in enumerate(demo.changes[:MAX_BADGES], start=1):
        figure.add_vline(x=change.at, row="all", col=1, line={"color": GREY, "width": 1, "dash": "dot"})
        figure.add_annotation(
            x=change.at, y=1, xref="x6", yref="y6 domain", text=f"<b>{number}</b>", showarrow=False, yanchor="top",
            hovertext=f"{change.reason}: {change.message}", bgcolor=INK, font={"color": "white", "size": 12},
            borderpad=3,
        )  # fmt: skip


def _style(figure: Any, *, most: int, rows: int) -> None:
    figure.update_layout(
        height=PANEL_PIXELS * rows + 80, template="plotly_white", showlegend=False, hovermode="x unified",
        margin={"l": 60, "r": 20, "t": 40, "b": 50},
        font={"family": "system-ui, sans-serif", "size": 13, "color": INK},
    )  # fmt: skip
    for title in figure.layout.annotations[:rows]:
        title.update(x=0, xanchor="left", font={"size": 14})
    figure.update_yaxes(rangemode="tozero", nticks=4, gridcolor=FAINT)
    figure.update_yaxes(range=[0, 1.05], tickvals=[0, 0.5, 1], row=3, col=1)
    figure.update_yaxes(range=[0, most + 1], dtick=1, row=6, col=1)
    figure.update_xaxes(gridcolor=FAINT, dtick=60, ticksuffix=" s")
    figure.update_xaxes(title_text="time since the replay began", row=rows, col=1)
