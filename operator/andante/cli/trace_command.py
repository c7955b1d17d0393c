"""Implements `andante trace`: shows and converts workload traces."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from andante.cli.errors import InputError, check_output
from andante.cli.traces import TraceFormat, read_trace, write_trace

trace_app = typer.Typer(
    help="Workload traces: look at one, convert published formats.\n\n"
    "A trace is a CSV file, gzipped or not, with the header arrival_s,prompt_tokens,output_tokens and, if wanted,"
    " qoe_class and prefix_group; lines in the order of arrival. `andante bench` replays it. Azure's 2023 trace (CSV)"
    " and Mooncake's (JSONL) are read too. The repository has an example in examples/traces.\n\n"
    "Exit status: 0 good, 2 for bad input.",
    short_help="Workload traces: look at one, convert published formats.",
    no_args_is_help=True,
)


@trace_app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="Trace to read (CSV, JSONL; gzip allowed).")],
    target: Annotated[Path, typer.Argument(help="Canonical CSV to write; gzipped when it ends in .gz.")],
    trace_format: Annotated[
        TraceFormat | None, typer.Option("--format", help="Format of SOURCE; told by its header when left out.")
    ] = None,
    start: Annotated[float, typer.Option(min=0.0, help="Leave out what arrives before this second.")] = 0.0,
    duration: Annotated[float | None, typer.Option(min=1e-3, help="Keep this many seconds; all when left out.")] = None,
) -> None:
    """Convert a published trace to arrival_s,prompt_tokens,output_tokens[,qoe_class][,prefix_group]."""
    check_output("TARGET", target)
    end = float("inf") if duration is None else start + duration
    kept = [
        dataclasses.replace(r, arrival_s=r.arrival_s - start)
        for r in read_trace(source, trace_format=trace_format)
        if start <= r.arrival_s < end
    ]
    if not kept:
        raise InputError(f"--start/--duration: no request arrives in [{start}, {end}) seconds")
    write_trace(target, kept)
    typer.echo(f"{target}: {len(kept)} requests over {kept[-1].arrival_s:.1f} s")


@trace_app.command()
def show(source: Annotated[Path, typer.Argument(help="Trace to read.")]) -> None:
    """Summarise a trace: rate, burstiness and lengths."""
    requests = read_trace(source)
    arrivals = np.array([r.arrival_s for r in requests])
    span = float(arrivals[-1] - arrivals[0])
    gaps = np.diff(arrivals)
    table = Table("figure", "value", title=str(source))
    table.add_row("requests", str(len(requests)))
    table.add_row("span", f"{span:.1f} s")
    table.add_row("mean rate", f"{len(requests) / span:.3f} requests/s" if span else "unknown")
    table.add_row("inter-arrival CV", f"{gaps.std() / gaps.mean():.2f}" if gaps.size and gaps.mean() else "unknown")
    for name in ("prompt_tokens", "output_tokens"):
        values = np.array([getattr(r, name) for r in requests])
        p50, p99 = np.percentile(values, [50, 99])
        table.add_row(f"{name} mean / p50 / p99", f"{values.mean():.0f} / {p50:.0f} / {p99:.0f}")
    Console().print(table)
