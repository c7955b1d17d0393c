"""Shows the demo live: a table that is redrawn on a terminal, or else one line every ten seconds."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hack.demo.outcome import ClientPoint
from hack.demo.watch import Sample

LINE_EVERY_SECONDS = 10.0


def _figure(value: float | None, digits: int = 3) -> str:
    return "unknown" if value is None else f"{value:.{digits}f}"


class LiveView:
    """Shows the newest results of the clients and the operator, and every change of replicas with its reason."""

    def __init__(self, console: Console, *, total_seconds: float) -> None:
        self._console, self._total = console, total_seconds
        self._live = Live(console=console, refresh_per_second=2) if console.is_terminal else None
        self._point: ClientPoint | None = None
        self._sample: Sample | None = None
        self._last_line = -LINE_EVERY_SECONDS
        self.changes: list[Sample] = []

    def __enter__(self) -> Self:
        if self._live:
            self._live.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._live:
            self._live.__exit__(kind, error, tb)

    def client(self, point: ClientPoint) -> None:
        self._point = point
        self._draw(point.at)

    def operator(self, sample: Sample) -> None:
        before = self.changes[-1].desired if self.changes else (self._sample.desired if self._sample else None)
        if sample.desired is not None and before is not None and sample.desired != before:
            self.changes.append(sample)
            self._console.print(
                f"[{sample.at:4.0f} s] replicas {before} -> {sample.desired}: {sample.reason}: {sample.message}",
                highlight=False,
            )
        self._sample = sample
        self._draw(sample.at)

    def _cells(self) -> list[tuple[str, str]]:
        point, sample = self._point, self._sample
        cells: list[tuple[str, str]] = []
        if point:
            cells += [
                ("arrivals/s", f"{point.arrivals_per_second:.1f}"),
                ("open", str(point.open_requests)),
                ("QoE now", _figure(point.mean_qoe)),
            ]
        if sample:
            cells += [
                ("deficit", _figure(sample.deficit)),
                ("smooth goodput", _figure(sample.smooth_goodput, 0)),
                ("replicas", f"{sample.ready}/{sample.replicas} ready, {sample.desired} wanted"),
                ("why", sample.reason or "unknown"),
            ]
        return cells

    def _draw(self, at: float) -> None:
        cells = self._cells()
        if self._live:
            table = Table(show_header=True, header_style="bold")
            for name, _ in cells:
                table.add_column(name)
            table.add_row(*(value for _, value in cells))
            progress = f"replayed {min(at, self._total):.0f} of {self._total:.0f} s"
            self._live.update(Group(Text(progress), table))
        elif at - self._last_line >= LINE_EVERY_SECONDS:
            self._last_line = at
            line = ", ".join(f"{k} {v}" for k, v in cells)
            self._console.print(f"[{at:4.0f} s] {line}", highlight=False, markup=False)
