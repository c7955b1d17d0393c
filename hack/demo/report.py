"""Writes the demo's report.html: the readers' QoE, the scaler's measurements and the replicas, on one time axis."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import pairwise
from pathlib import Path
from string import Template

from hack.demo.figure import plot
from hack.demo.outcome import Demo
from hack.demo.verdict import replica_minutes
from hack.demo.watch import Sample

PAGE = Template((Path(__file__).parent / "report.html.in").read_text(encoding="utf-8"))


def write_report(path: Path, demo: Demo) -> None:
    """One self-contained HTML file: no network is needed to open it."""
    page = PAGE.substitute(
        verdict=_verdict(demo),
        verdict_class="bad" if demo.complaints else "good",
        headlines="".join(
            f"<div class='tile'><b>{escape(value)}</b><span>{escape(name)}</span><small>{escape(meaning)}</small></div>"
            for name, value, meaning in demo.headlines
        ),
        figure=plot(demo),
        changes="".join(
            f"<tr><td><i>{number}</i></td><td class='n'>{change.at:.0f} s</td>"
            f"<td class='n'>{before} → {change.desired}</td>"
            f"<td><code>{escape(change.reason)}</code></td><td>{escape(change.message)}</td></tr>"
            for number, (before, change) in enumerate(_steps(demo), start=1)
        )
        or "<tr><td colspan='5'>The scaler changed nothing.</td></tr>",
        table="".join(
            f"<tr><th>{escape(name)}</th><td class='n'>{escape(value)}</td></tr>" for name, value in demo.table
        ),
    )
    path.write_text(page, encoding="utf-8")


def saved_replica_minutes(samples: Sequence[Sample]) -> tuple[float, float]:
    """Replica-minutes of the run, and those of a fixed number of replicas: the largest number in the run."""
    most = max((s.replicas for s in samples), default=0)
    minutes = (samples[-1].at - samples[0].at) / 60 if samples else 0.0
    return replica_minutes(samples), most * minutes


def _steps(demo: Demo) -> list[tuple[int | None, Sample]]:
    """Each change with the number of replicas that was wanted before it."""
    if not demo.changes:
        return []
    before = [s.desired for s in demo.samples if s.at < demo.changes[0].at and s.desired is not None]
    first = before[-1] if before else None
    return [(first, demo.changes[0]), *((a.desired, b) for a, b in pairwise(demo.changes))]


def _verdict(demo: Demo) -> str:
    if demo.complaints:
        return " ".join(escape(complaint) for complaint in demo.complaints)
    ready = [s.ready for s in demo.samples]
    return (
        f"Replicas rose from {ready[0]} to {max(ready)} with the surge and fell back to {ready[-1]} after it, "
        "and no stream was cut."
    )
