"""Every dashboard and the file in the chart that holds it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hack.dashboards import fleet, operator, scheduler, service
from hack.dashboards.parts import as_json

FOLDER = Path(__file__).resolve().parents[2] / "charts" / "andante-operator" / "dashboards"
BOARDS = (service.BOARD, fleet.BOARD, scheduler.BOARD, operator.BOARD)


def dashboards() -> Mapping[Path, str]:
    """Each file and what it must hold."""
    return {FOLDER / f"{board.uid}.json": as_json(board) for board in BOARDS}
