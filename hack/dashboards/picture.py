"""Draws a dashboard's panels from a Prometheus' answers, as one web page: query results, not Grafana.

    python -m hack.dashboards.picture --prometheus http://127.0.0.1:9090 --dashboard andante-service --minutes 15

For whoever wants to see a dashboard without a Grafana, and for the picture in the docs. `make dashboard-page`.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import time
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

import httpx
import plotly.graph_objects as graphs
from plotly.offline import get_plotlyjs

from hack.dashboards.files import FOLDER

ROW_PIXELS: Final = 34
_UNITS: Final[Mapping[str, tuple[float, str]]] = {"percentunit": (100.0, " %"), "short": (1.0, ""), "s": (1.0, " s")}
_STYLE: Final = """
body { font: 14px system-ui, sans-serif; margin: 16px; background: #f4f5f5; }
.board { display: grid; grid-template-columns: repeat(24, 1fr); gap: 6px; }
.panel { background: white; border: 1px solid #ddd; padding: 6px; overflow: hidden; }
.panel h3 { font-size: 13px; margin: 0 0 4px; } .row { align-self: end; font-weight: 600; }
.stat { font-size: 26px; text-align: center; padding-top: 18px; } .unknown { color: #888; }
table { border-collapse: collapse; font-size: 12px; } td, th { padding: 2px 8px; text-align: left; }
"""


class Prometheus:
    """Answers of one Prometheus about a stretch of time."""

    def __init__(self, url: str, *, end: float, minutes: float, variables: Mapping[str, str]) -> None:
        self._client = httpx.Client(base_url=url, timeout=60, trust_env=False)
        self._end, self._start = end, end - 60 * minutes
        self._step = max(15.0, 60 * minutes / 200)
        self._variables = {**variables, "__rate_interval": "2m", "__interval": "1m", "__range": f"{minutes:g}m"}

    def at_end(self, expr: str) -> list[dict[str, Any]]:
        """The rows of an instant query. Raises httpx.HTTPError."""
        return self._ask("/api/v1/query", query=self._filled(expr), time=str(self._end))

    def over_time(self, expr: str) -> list[dict[str, Any]]:
        """The rows of a range query. Raises httpx.HTTPError."""
        asked = {
            "query": self._filled(expr),
            "start": str(self._start),
            "end": str(self._end),
            "step": f"{self._step:g}",
        }
        return self._ask("/api/v1/query_range", **asked)

    def _ask(self, path: str, **parameters: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = (
            self._client.get(path, params=parameters).raise_for_status().json()["data"]["result"]
        )
        return rows

    def _filled(self, expr: str) -> str:
        return re.sub(r"\$(\w+)", lambda found: self._variables.get(found[1], found[0]), expr)


def page(board: Mapping[str, Any], prometheus: Prometheus) -> str:
    """The dashboard as HTML. Raises httpx.HTTPError where Prometheus does not answer."""
    panels = "".join(_panel(panel, prometheus) for panel in board["panels"])
    title = escape(board["title"])
    return (
        f"<!doctype html><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>"
        f"<script>{get_plotlyjs()}</script><h2>{title} <small>(query results, not Grafana)</small></h2>"
        f'<div class="board">{panels}</div>'
    )


def _panel(panel: Mapping[str, Any], prometheus: Prometheus) -> str:
    place = panel["gridPos"]
    style = f"grid-column: {place['x'] + 1} / span {place['w']}; min-height: {place['h'] * ROW_PIXELS}px"
    title = escape(panel["title"])
    if panel["type"] == "row":
        return f'<div class="row" style="grid-column: 1 / span 24">{title}</div>'
    draw = {"timeseries": _lines, "stat": _number}.get(panel["type"], _table)
    return f'<div class="panel" style="{style}"><h3>{title}</h3>{draw(panel, prometheus)}</div>'


def _lines(panel: Mapping[str, Any], prometheus: Prometheus) -> str:
    factor, unit = _UNITS.get(panel["fieldConfig"]["defaults"].get("unit", ""), (1.0, ""))
    figure = graphs.Figure()
    for target in panel["targets"]:
        for row in prometheus.over_time(target["expr"]):
            at = [time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(float(moment))) for moment, _ in row["values"]]
            values = [factor * float(value) for _, value in row["values"]]
            figure.add_scatter(x=at, y=values, name=_legend(target, row["metric"]), mode="lines", connectgaps=False)
    if not figure.data:
        return '<div class="stat unknown">no series</div>'
    figure.update_layout(
        height=panel["gridPos"]["h"] * ROW_PIXELS - 30,
        margin={"l": 45, "r": 5, "t": 5, "b": 20},
        legend={"orientation": "h", "font": {"size": 10}},
        showlegend=True,
        template="plotly_white",
        yaxis={"ticksuffix": unit, "rangemode": "tozero"},
    )
    return str(figure.to_html(full_html=False, include_plotlyjs=False, config={"staticPlot": True}))


def _number(panel: Mapping[str, Any], prometheus: Prometheus) -> str:
    defaults = panel["fieldConfig"]["defaults"]
    factor, unit = _UNITS.get(defaults.get("unit", ""), (1.0, ""))
    shown = []
    for target in panel["targets"]:
        for row in prometheus.at_end(target["expr"]):
            value = float(row["value"][1])
            name = _legend(target, row["metric"]) if row["metric"] else ""
            shown.append(f"{escape(name)} {factor * value:.4g}{unit}".strip() if math.isfinite(value) else "")
    text = "<br>".join(filter(None, shown))
    return (
        f'<div class="stat">{text}</div>' if text else f'<div class="stat unknown">{defaults.get("noValue", "-")}</div>'
    )


def _table(panel: Mapping[str, Any], prometheus: Prometheus) -> str:
    rows = [row for target in panel["targets"] for row in prometheus.at_end(target["expr"])]
    columns = sorted({name for row in rows for name in row["metric"]} - {"__name__"})
    if not rows:
        return '<div class="stat unknown">none</div>'
    head = "".join(f"<th>{escape(name)}</th>" for name in (*columns, "value"))
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in _cells(row, columns)) + "</tr>" for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _cells(row: Mapping[str, Any], columns: Sequence[str]) -> list[str]:
    return [*(row["metric"].get(name, "") for name in columns), f"{float(row['value'][1]):.4g}"]


def _legend(target: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    pattern = str(target.get("legendFormat", ""))
    if pattern in ("", "__auto"):
        return ", ".join(f"{name}={value}" for name, value in sorted(labels.items()) if name != "__name__")
    return re.sub(r"{{\s*(\w+)\s*}}", lambda found: labels.get(found[1], ""), pattern).strip()


def main() -> int:
    """Write the page; 1 after an error message."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prometheus", required=True, metavar="URL")
    parser.add_argument("--dashboard", default="andante-service", choices=sorted(p.stem for p in FOLDER.glob("*.json")))
    parser.add_argument("--namespace", default=".+", help="regular expression")
    parser.add_argument("--llmservice", default=".+", help="regular expression")
    parser.add_argument("--minutes", type=float, default=60.0, help="drawn until --end")
    parser.add_argument("--end", type=float, default=0.0, help="Unix time; default: now")
    parser.add_argument("--out", type=Path, default=Path("dashboard.html"))
    arguments = parser.parse_args()
    board = json.loads((FOLDER / f"{arguments.dashboard}.json").read_text(encoding="utf-8"))
    prometheus = Prometheus(
        arguments.prometheus,
        end=arguments.end or time.time(),
        minutes=arguments.minutes,
        variables={"namespace": arguments.namespace, "llmservice": arguments.llmservice},
    )
    try:
        arguments.out.write_text(page(board, prometheus), encoding="utf-8")
    except httpx.HTTPError as error:
        print(f"dashboard: {arguments.prometheus} does not answer: {error}", file=sys.stderr)
        return 1
    print(f"dashboard: {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
