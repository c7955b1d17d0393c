"""The page that says what each panel of the dashboards shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from hack.dashboards.files import BOARDS
from hack.dashboards.parts import as_json

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "reference" / "dashboards.md"
_HEAD: Final = """# Dashboards

The chart brings four dashboards for Grafana 10.1 and newer (`dashboards.enabled`); variables choose namespace and
service, so that one dashboard serves all services. A figure that is not known has no line: it is never 0 instead.
[On call](../how-to/on-call.md) says when to look at which.

The picture is of query results, not of Grafana: `make dashboard-page` draws the panels of a dashboard from a Prometheus
of yours. It shows two services on a virtual GPU in their first minutes: `whole` keeps its promise, and the class of
`hasty` reads faster than its engine writes.

![The service dashboard's panels, drawn from query results](../images/dashboard-service.png)
"""


def page() -> str:
    """The page; generated, as every panel has its description in the dashboard itself."""
    parts = [_HEAD]
    for board in BOARDS:
        parts.append(f"\n## {board.title}\n\n{board.description}\n")
        for panel in json.loads(as_json(board))["panels"]:
            if panel["type"] == "row":
                parts.append(f"\n### {board.title.removeprefix('Andante: ').capitalize()}: {panel['title']}\n\n")
                parts.append("| panel | what it shows |\n|---|---|\n")
            else:
                parts.append(f"| {panel['title']} | {' '.join(panel['description'].split())} |\n")
    return "".join(parts)
