"""`andante bench`: replay a trace against a real endpoint and score it as the client saw it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import platform
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import andante
from andante.cli.bench import BenchOptions, run_bench
from andante.cli.bench import Progress as BenchProgress
from andante.cli.bench_report import flatten, write_report
from andante.cli.bench_scores import per_class, summarise
from andante.cli.errors import InputError
from andante.cli.traces import read_trace
from andante.domain.pace import PRESETS, QoEClass
from andante.domain.request_meter import Objective
from andante.domain.trace import TraceRequest


def find_model(url: str) -> str:
    """The first model that the endpoint lists; InputError when it cannot be reached or lists none."""
    try:
        response = httpx.get(f"{url}/v1/models", timeout=10.0, trust_env=False)
        response.raise_for_status()
        return str(response.json()["data"][0]["id"])
    except (httpx.HTTPError, LookupError, ValueError) as error:
        raise InputError(f"--url: {url}/v1/models gives no model: {error}") from error


def select(
    requests: list[TraceRequest],
    *,
    speed: float,
    every: int,
    duration: float | None,
    max_prompt_tokens: int | None,
    max_output_tokens: int | None,
) -> list[TraceRequest]:
    """The requests to send: every n-th, compressed in time, cut to `duration` seconds of replay and to the caps."""
    kept: list[TraceRequest] = []
    for r in requests[::every]:
        at = (r.arrival_s - requests[0].arrival_s) / speed
        if duration is not None and at >= duration:
            break
        prompt = min(r.prompt_tokens, max_prompt_tokens or r.prompt_tokens)
        output = min(r.output_tokens, max_output_tokens or r.output_tokens)
        kept.append(dataclasses.replace(r, arrival_s=at, prompt_tokens=prompt, output_tokens=output))
    return kept


def _class(name: str, expected_ttft: float | None, pace: float | None) -> QoEClass:
    if name not in PRESETS and (expected_ttft is None or pace is None):
        known = ", ".join(PRESETS)
        raise InputError(f"--class: no preset {name!r}; take one of {known}, or give --expected-ttft and --pace")
    base = PRESETS.get(name, PRESETS["reading"])
    try:
        return dataclasses.replace(
            base,
            name=name,
            expected_ttft=base.expected_ttft if expected_ttft is None else expected_ttft,
            pace=base.pace if pace is None else pace,
        )
    except ValueError as error:
        raise InputError(f"--expected-ttft/--pace: {error}") from error


def bench(
    url: Annotated[str, typer.Option(help="Address of an OpenAI-compatible endpoint, without /v1.")],
    trace: Annotated[Path, typer.Option(help="Workload trace (see `andante trace --help`).")],
    speed: Annotated[float, typer.Option(min=1e-3, help="Compress the trace's time by this factor.")] = 1.0,
    every: Annotated[int, typer.Option(min=1, help="Send only every n-th request of the trace.")] = 1,
    duration: Annotated[float | None, typer.Option(min=0.1, help="Stop sending after this many seconds.")] = None,
    max_prompt_tokens: Annotated[int | None, typer.Option(min=1, help="Cut longer prompts.")] = None,
    max_output_tokens: Annotated[int | None, typer.Option(min=1, help="Cut longer answers.")] = None,
    class_name: Annotated[str, typer.Option("--class", help="QoE class of requests that name none.")] = "reading",
    expected_ttft: Annotated[float | None, typer.Option(help="Own expectation: seconds to the first token.")] = None,
    pace: Annotated[float | None, typer.Option(help="Own expectation: tokens per second.")] = None,
    objective: Annotated[float, typer.Option(min=1e-3, max=1.0, help="QoE from which a request is good.")] = 0.95,
    model: Annotated[str | None, typer.Option(help="Model name; the endpoint's first when left out.")] = None,
    class_header: Annotated[bool, typer.Option(help="Send the class as X-Andante-Class.")] = True,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write all scores here as JSON.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write an HTML report here.")] = None,
) -> None:
    """Replay a trace, open loop, against a real endpoint, and report QoE and smooth goodput as the client saw them.

    Example:  andante bench --url http://localhost:8000 --trace trace.csv.gz --duration 60
    """
    console = Console()
    url = url.rstrip("/").removesuffix("/v1")
    requests = select(
        read_trace(trace),
        speed=speed,
        every=every,
        duration=duration,
        max_prompt_tokens=max_prompt_tokens,
        max_output_tokens=max_output_tokens,
    )
    named = {r.qoe_class for r in requests if r.qoe_class}
    unknown = sorted(named - set(PRESETS))
    if unknown:
        raise InputError(f"--trace: no preset for the class {unknown[0]!r}; known are {', '.join(PRESETS)}")
    options = BenchOptions(
        url=url,
        model=model or find_model(url),
        qoe_class=_class(class_name, expected_ttft, pace),
        classes=PRESETS,
        objective=Objective(qoe=objective),
        send_class_header=class_header,
    )
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("requests ended", total=len(requests))

        def tick(progress: BenchProgress) -> None:
            bar.update(task, advance=len(progress.ended), description=f"{progress.open_requests} open, ended")

        results = asyncio.run(run_bench(requests, options, on_tick=tick))
    interval = max(r.arrival + r.lateness + r.duration for r in results)
    scores: dict[str, Any] = summarise(results, interval=interval)
    table = Table("score", "value", title=f"{len(results)} requests, as the client saw them")
    for row in flatten(scores):
        table.add_row(*row)
    console.print(table)
    if scores["generator_was_late"]:
        console.print(
            "The load generator was late: its machine is too busy, and these figures measure it too. "
            "Lower the load, or run it on a machine of its own.",
            style="bold red",
        )
    if json_out:
        settings = {
            "url": url, "trace": trace.name, "speed": speed, "every": every, "duration": duration,
            "max_prompt_tokens": max_prompt_tokens, "max_output_tokens": max_output_tokens,
            "class": dataclasses.asdict(options.qoe_class), "objective": objective,
            "andante": andante.__version__, "python": platform.python_version(),
        }  # fmt: skip
        document = {"settings": settings, "scores": scores, "classes": per_class(results, interval=interval)}
        json_out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    if report:
        write_report(report, title="andante bench", scores=scores, results=results)
        console.print(f"report: {report}")
    if scores["endings"]["completed"] == 0:
        raise typer.Exit(1)
