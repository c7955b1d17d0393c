"""Draws the report's plots: panels on one time axis. The surge is shaded; each change of replicas has a number."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from hack.demo.outcome import Demo
from hack.demo.slices import SLICE_SECONDS, by_arrival

# Okabe and Ito's palette: people with any kind of colour vision can distinguish its colours. Line styles differ, too.
BLUE, ORANGE, GREEN, VERMILION, PURPLE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"
INK, GREY, FAINT = "#243447", "#5f6b7a", "#e6e9ed"
PANEL_PIXELS = 150
MAX_BADGES = 30
"""More numbers would overlap."""


def plot(demo: Demo) -> str:
    """An HTML fragment with the plots and the script that draws them."""
    figure = _with_rival(demo) if demo.rival else _alone(demo)
    _mark(figure, demo)
    config = {"displayModeBar": False, "responsive": True}
    return str(figure.to_html(full_html=False, include_plotlyjs=True, config=config))


def _alone(demo: Demo) -> Any:
    ours = demo.ours
    at = [p.at for p in ours.points]
    seen = [s.at for s in ours.samples]
    panels = _Panels(
        _title("Arrivals", BLUE, "requests per second, as the clients sent them"),
        _title("Open requests", PURPLE, "at the clients"),
        _title("QoE", GREEN, f"mean of the readers who came in {SLICE_SECONDS:g} s; dashed: the objective"),
        _title("QoE deficit by load", VERMILION, "as the operator measured it: what the scaler acts on"),
        _title("Smooth goodput", GREEN, "tokens per second that readers can use, as the operator measured it"),
        f"<b>Replicas</b>  {_swatch(ORANGE)}ready  {_swatch(BLUE)}wanted (dotted)",
    )
    panels.line(1, at, [p.arrivals_per_second for p in ours.points], "arrivals/s", BLUE, filled=True)
    panels.line(2, at, [p.open_requests for p in ours.points], "open requests", PURPLE, filled=True)
    slices = by_arrival(ours.results)
    panels.line(3, [s.since + SLICE_SECONDS / 2 for s in slices], [s.mean_qoe for s in slices], "mean QoE", GREEN)
    panels.line(4, seen, [s.deficit for s in ours.samples], "QoE deficit by load", VERMILION, filled=True)
    panels.line(5, seen, [s.smooth_goodput for s in ours.samples], "smooth goodput", GREEN, filled=True)
    panels.line(6, seen, [s.ready for s in ours.samples], "ready", ORANGE, filled=True, shape="hv")
    panels.line(6, seen, [s.desired for s in ours.samples], "wanted", BLUE, shape="hv", dash="dot")
    panels.finish(qoe=3, replicas=6, target=demo.target_qoe, most=max((s.replicas for s in ours.samples), default=1))
    return panels.figure


def _with_rival(demo: Demo) -> Any:
    names = [side.name for side in demo.sides]
    pair = f"{_swatch(BLUE)}{names[0]}  {_swatch(VERMILION)}{names[1]} (dashed)"
    panels = _Panels(
        _title("Arrivals", GREY, "requests per second, the same on both sides"),
        f"<b>QoE</b>  {pair}  {_quiet(f'mean of the readers who came in {SLICE_SECONDS:g} s; dashed: the objective')}",
        f"<b>Open requests</b>  {pair}  {_quiet('at the clients')}",
        f"<b>Replicas that serve</b>  {pair}",
        f"<b>Replicas that are paid</b>  {pair}  {_quiet('those that start or drain, too')}",
        f"<b>QoE deficit by load</b>  {pair}  {_quiet('as the operator measured it; only Andante acts on it')}",
    )
    points = demo.ours.points
    panels.line(1, [p.at for p in points], [p.arrivals_per_second for p in points], "arrivals/s", GREY, filled=True)
    for side, colour, dash in zip(demo.sides, (BLUE, VERMILION), (None, "dash"), strict=True):
        slices, seen = by_arrival(side.results), [s.at for s in side.samples]
        middle = [s.since + SLICE_SECONDS / 2 for s in slices]
        panels.line(2, middle, [s.mean_qoe for s in slices], side.name, colour, dash=dash)
        panels.line(
            3, [p.at for p in side.points], [p.open_requests for p in side.points], side.name, colour, dash=dash
        )
        panels.line(4, seen, [s.ready for s in side.samples], side.name, colour, shape="hv", dash=dash)
        moments = sorted({0.0, demo.until, *(t for pod in side.pods for t in (pod.created, pod.gone) if t is not None)})
        paid = [sum(p.created <= t and (p.gone is None or t < p.gone) for p in side.pods) for t in moments]
        panels.line(5, moments, paid, side.name, colour, shape="hv", dash=dash)
        panels.line(6, seen, [s.deficit for s in side.samples], side.name, colour, dash=dash)
    most = max((s.replicas for side in demo.sides for s in side.samples), default=1)
    panels.finish(qoe=2, replicas=4, target=demo.target_qoe, most=most)
    panels.figure.update_yaxes(range=[0, most + 1], dtick=1, row=5, col=1)
    return panels.figure


class _Panels:
    """Panels below each other on one time axis."""

    def __init__(self, *titles: str) -> None:
        self.rows = len(titles)
        self.figure = make_subplots(
            rows=self.rows, cols=1, shared_xaxes=True, vertical_spacing=0.045, subplot_titles=titles
        )

    def line(
        self, row: int, x: list[float], y: list[Any], name: str, colour: str, *, filled: bool = False, **style: Any
    ) -> None:
        trace = go.Scatter(
            x=x, y=y, name=name, mode="lines", connectgaps=False, line={"color": colour, "width": 2, **style}
        )
        if filled:
            trace.update(fill="tozeroy", fillcolor=_faint(colour))
        self.figure.add_trace(trace, row=row, col=1)

    def finish(self, *, qoe: int, replicas: int, target: float, most: int) -> None:
        """Style the panels; `qoe` and `replicas` are rows, `target` is the objective, `most` replicas there were."""
        figure = self.figure
        figure.update_layout(
            height=PANEL_PIXELS * self.rows + 80, template="plotly_white", showlegend=False, hovermode="x unified",
            margin={"l": 60, "r": 20, "t": 40, "b": 50},
            font={"family": "system-ui, sans-serif", "size": 13, "color": INK},
        )  # fmt: skip
        for title in figure.layout.annotations[: self.rows]:
            title.update(x=0, xanchor="left", font={"size": 14})
        figure.add_hline(y=target, row=qoe, col=1, line={"color": GREY, "dash": "dash", "width": 1})
        figure.update_yaxes(rangemode="tozero", nticks=4, gridcolor=FAINT)
        figure.update_yaxes(range=[0, 1.05], tickvals=[0, 0.5, 1], row=qoe, col=1)
        figure.update_yaxes(range=[0, most + 1], dtick=1, row=replicas, col=1)
        figure.update_xaxes(gridcolor=FAINT, dtick=60, ticksuffix=" s")
        figure.update_xaxes(title_text="time since the replay began", row=self.rows, col=1)


def _title(name: str, colour: str, meaning: str) -> str:
    return f"{_swatch(colour)}<b>{name}</b>  {_quiet(meaning)}"


def _quiet(text: str) -> str:
    return f"<span style='color:{GREY}'>{text}</span>"


def _swatch(colour: str) -> str:
    return f"<span style='color:{colour}'>■</span> "


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.15)"


def _mark(figure: Any, demo: Demo) -> None:
    end = demo.surge.start + demo.surge.duration
    figure.add_vrect(x0=demo.surge.start, x1=end, row="all", col=1, fillcolor=GREY, opacity=0.1, line_width=0)
    for number, change in enumerate(demo.ours.changes[:MAX_BADGES], start=1):
        figure.add_vline(x=change.at, row="all", col=1, line={"color": GREY, "width": 1, "dash": "dot"})
        figure.add_annotation(
            x=change.at, y=1, xref="x6", yref="y6 domain", text=f"<b>{number}</b>", showarrow=False, yanchor="top",
            hovertext=f"{change.reason}: {change.message}", bgcolor=INK, font={"color": "white", "size": 12},
            borderpad=3,
        )  # fmt: skip
