"""Writes HTML reports: one self-contained file with tables and a plot, which opens without a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

# Okabe and Ito's palette: people with any kind of colour vision can distinguish the colours.
BLUE, GREEN, VERMILION = "#0072B2", "#009E73", "#D55E00"
COLOURS = (BLUE, VERMILION, GREEN, "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")

TableRows = tuple[Sequence[str] | None, Sequence[Sequence[str]]]
"""Column names (None: the first cell of each row is its name) and rows."""


def flatten(figures: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Rows of (name, value) as text, for tables; an unknown value is "unknown"."""
    rows: list[tuple[str, str]] = []
    for key, value in figures.items():
        if isinstance(value, Mapping):
            rows += flatten(value, f"{prefix}{key} ")
        else:
            rows.append((prefix + key, text(value)))
    return rows


def text(value: object) -> str:
    """A figure for people: four digits, and None as "unknown"."""
    return "unknown" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def write_page(
    path: Path, *, title: str, warnings: Sequence[str] = (), notes: Sequence[str] = (), tables: Sequence[TableRows],
    figure: go.Figure,
) -> None:  # fmt: skip
    """Write title, warnings, notes, tables and plot into one file."""
    paragraphs = "".join(f"<p><strong>{escape(line)}</strong></p>" for line in warnings)
    paragraphs += "".join(f"<p>{escape(line)}</p>" for line in notes)
    path.write_text(
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{escape(title)}</title>"
        "<style>body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem}"
        "th{text-align:left;padding-right:2rem}td,th{border-bottom:1px solid #ddd}</style>"
        f"<h1>{escape(title)}</h1>{paragraphs}{''.join(map(_table, tables))}"
        f"{figure.to_html(full_html=False, include_plotlyjs=True)}</html>",
        encoding="utf-8",
    )


def _table(table: TableRows) -> str:
    columns, rows = table
    head = "" if columns is None else f"<tr>{''.join(f'<th>{escape(name)}</th>' for name in columns)}</tr>"
    lines = "".join(
        f"<tr><th>{escape(row[0])}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in row[1:])}</tr>" for row in rows
    )
    return f"<table>{head}{lines}</table>"
