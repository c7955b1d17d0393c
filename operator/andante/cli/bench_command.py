"""Implements `andante bench`: replays a trace against a real endpoint and scores it on the client's side."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import platform
import resource
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import andante
from andante.cli.bench import BenchOptions, RequestResult, authorization, run_bench
from andante.cli.bench import Progress as BenchProgress
from andante.cli.bench_report import write_report
from andante.cli.bench_scores import per_class, summarise
from andante.cli.errors import InputError, check_output, write_json
from andante.cli.report import flatten
from andante.cli.traces import read_trace
from andante.cli.workload_options import CLASS_HELP, check_classes, named_class, select
from andante.domain.goodput import Origin
from andante.domain.pace import PRESETS
from andante.domain.request_meter import Objective
from andante.domain.trace import TraceRequest

API_KEY_VARIABLE = "ANDANTE_API_KEY"  # not an option: `ps` shows those; not OPENAI_API_KEY, which is for another host


def read_api_key() -> str | None:
    """The endpoint's key from the environment; InputError when a header cannot contain the key."""
    key = os.environ.get(API_KEY_VARIABLE, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise InputError(f"{API_KEY_VARIABLE}: must be one line of printable ASCII; set it to the key alone")
    return key or None


async def find_model(url: str, *, api_key: str | None = None) -> str:
    """The first model that the endpoint lists; InputError when it cannot be reached or lists none."""
    timeout = aiohttp.ClientTimeout(total=10.0)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, headers=authorization(api_key)) as session,
            session.get(f"{url}/v1/models") as response,
        ):
            response.raise_for_status()
            return str((await response.json(content_type=None))["data"][0]["id"])
    except (aiohttp.ClientError, OSError, TimeoutError, LookupError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"--url: {url}/v1/models gives no model: {reason}; name one with --model") from error


def allow_many_connections() -> None:
    """Raise this process's limit of open files to its maximum: each open request has its own connection."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def bench(
    url: Annotated[str, typer.Option(help="Address of an OpenAI-compatible endpoint, without /v1.")],
    trace: Annotated[Path, typer.Option(help="Workload trace; `andante trace --help` says in which form.")],
    speed: Annotated[float, typer.Option(min=1e-3, help="Compress the trace's time by this factor.")] = 1.0,
    rate_scale: Annotated[float, typer.Option(min=1e-3, help="Send this many times the trace's requests.")] = 1.0,
    duration: Annotated[float | None, typer.Option(min=0.1, help="Stop sending after this many seconds.")] = None,
    max_prompt_tokens: Annotated[int | None, typer.Option(min=1, help="Cut longer prompts.")] = None,
    max_output_tokens: Annotated[int | None, typer.Option(min=1, help="Cut longer answers.")] = None,
    class_name: Annotated[str, typer.Option("--class", help=CLASS_HELP)] = "reading",
    expected_ttft: Annotated[float | None, typer.Option(help="Own expectation: seconds to the first token.")] = None,
    pace: Annotated[float | None, typer.Option(help="Own expectation: tokens per second.")] = None,
    objective: Annotated[float, typer.Option(min=1e-3, max=1.0, help="QoE from which a request is good.")] = 0.95,
    model: Annotated[str | None, typer.Option(help="Model name; the endpoint's first when left out.")] = None,
    class_header: Annotated[
        bool, typer.Option(help="Send the class as X-Andante-Class, which a service without that class refuses.")
    ] = True,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write all scores here as JSON.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write an HTML report here.")] = None,
) -> None:
    """Replay a trace, open loop, against a real endpoint, and report QoE and smooth goodput as the client saw them.

    Requests are sent when the trace says, whether earlier ones are answered or not. Prompts have the trace's lengths
    and made-up tokens. Where the endpoint wants an API key, put it into the variable ANDANTE_API_KEY.

    Exit status: 0 when a request was answered whole, 1 when none was, 2 for bad input.

    Example:  andante bench --url http://localhost:8000 --trace trace.csv.gz --duration 60
    """
    console = Console()
    check_output("--json", json_out)
    check_output("--report", report)
    if not url.startswith(("http://", "https://")):
        raise InputError(f"--url: {url} must begin with http:// or https://")
    url = url.rstrip("/").removesuffix("/v1")
    api_key = read_api_key()
    requests = select(
        read_trace(trace),
        speed=speed,
        rate_scale=rate_scale,
        duration=duration,
        max_prompt_tokens=max_prompt_tokens,
        max_output_tokens=max_output_tokens,
    )
    if not requests:
        raise InputError("--rate-scale: no request of the trace is left; raise it")
    check_classes(requests, PRESETS)
    options = BenchOptions(
        url=url,
        model=model or asyncio.run(find_model(url, api_key=api_key)),
        qoe_class=named_class(class_name, expected_ttft, pace),
        classes=PRESETS,
        objective=Objective(qoe=objective),
        send_class_header=class_header,
        api_key=api_key,
    )
    allow_many_connections()
    results = asyncio.run(_replay(requests, options, console))
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
            "url": url, "trace": trace.name, "speed": speed, "rate_scale": rate_scale, "duration": duration,
            "max_prompt_tokens": max_prompt_tokens, "max_output_tokens": max_output_tokens,
            "class": dataclasses.asdict(options.qoe_class), "objective": dataclasses.asdict(options.objective),
            "origin": Origin.ARRIVAL.value, "model": options.model, "drain_seconds": options.drain_seconds,
            "andante": andante.__version__, "python": platform.python_version(),
        }  # fmt: skip
        document = {"settings": settings, "scores": scores, "classes": per_class(results, interval=interval)}
        write_json(json_out, document)
    if report:
        write_report(report, title="andante bench", scores=scores, results=results)
        console.print(f"report: {report}")
    if scores["endings"]["completed"] == 0:
        raise typer.Exit(1)


async def _replay(requests: list[TraceRequest], options: BenchOptions, console: Console) -> list[RequestResult]:
    """Run the load with a progress bar that shows the present wait."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("sending", total=len(requests))

        def tick(progress: BenchProgress) -> None:
            waiting = "sending" if progress.sent < progress.total else "all sent, waiting for open answers"
            bar.update(
                task, advance=len(progress.ended), description=f"{waiting}; {progress.open_requests} open; ended"
            )

        return await run_bench(requests, options, on_tick=tick)
