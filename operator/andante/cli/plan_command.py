"""Implements `andante plan`: how many replicas a trace needs, what its readers get, and what that costs."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from andante.cli.errors import InputError, check_output, write_json
from andante.cli.fleet_case import (
    SCHEDULER_HELP,
    Case,
    ClassOption,
    DurationOption,
    ExpectedOption,
    GoodOption,
    JsonOption,
    NotServedError,
    PaceOption,
    PriceOption,
    ProfileOption,
    RateOption,
    Scheduler,
    SeedOption,
    TargetOption,
    TraceOption,
    read_case,
    with_arrivals,
)
from andante.cli.fleet_scores import scores, settings
from andante.cli.mean_value import Answer, ask, replica_to_ask
from andante.cli.report import text

_MORE = 2
"""Numbers of replicas that are shown beyond the smallest that is enough."""
_ALONE = 100
"""Most requests that are served alone to see whether an idle replica is quick enough."""
_APART = 120.0
"""Seconds between requests that are served alone."""


def plan(
    trace: TraceOption,
    profile: ProfileOption,
    target_qoe: TargetOption = 0.95,
    good_fraction: GoodOption = 0.99,
    price_per_hour: PriceOption = None,
    most: Annotated[int, typer.Option("--max", min=1, help="Try no more replicas than this.")] = 32,
    scheduler: Annotated[Scheduler, typer.Option(help=SCHEDULER_HELP)] = Scheduler.QOE,
    class_name: ClassOption = "reading",
    expected_ttft: ExpectedOption = None,
    pace: PaceOption = None,
    rate_scale: RateOption = 1.0,
    duration: DurationOption = None,
    seed: SeedOption = 0,
    aiconfigurator: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="MODEL GPU", help="Ask AIConfigurator about these; the profile's where it knows them."),
    ] = None,
    json_out: JsonOption = None,
) -> None:
    """Tell how many replicas a trace needs, what its readers get, and what that costs.

    Serves the trace on 1, 2, 3, … simulated replicas, all ready from the start, until the share of requests with a QoE
    of at least --target-qoe reaches --good-fraction, and shows two numbers more. Smooth goodput counts tokens less the
    penalty for readers who wait. docs/how-to/sizing.md shows what to do with the answer.

    Where AIConfigurator is installed (the extra `estimate`), its answer is shown below ours: replicas for the mean
    request at the mean rate, and at that of the busiest minute. It is a mean-value answer, without bursts.

    Exit status: 0 when a number of replicas is enough, 1 when none up to --max is, 2 for bad input.

    Example:  andante plan --trace examples/traces/azure2023_conv_10min.csv.gz --profile llama-3-8b-1xh100
    --rate-scale 8 --target-qoe 0.95 --good-fraction 0.99
    """
    check_output("--json", json_out)
    case = read_case(
        trace, profile, class_name=class_name, expected_ttft=expected_ttft, pace=pace, target_qoe=target_qoe,
        good_fraction=good_fraction, rate_scale=rate_scale, duration=duration, price=price_per_hour,
        command="andante plan",
    )  # fmt: skip
    if not case.has_readers:
        raise InputError(
            "--trace/--class: all requests are batch requests, which have no QoE that could be planned for"
        )
    console = Console()
    with console.status("asking AIConfigurator"):
        other = _other_answer(case, aiconfigurator)
    curve = _curve(case, scheduler, most=most, seed=seed, console=console)
    table = Table(
        "replicas", "mean QoE", "good", "smooth goodput, tokens/s", "TTFT p95, s", "USD/h", "USD per 1,000 good",
        title=f"{trace.name} on {case.profile.name}: good is a QoE of at least {target_qoe:g}",
    )  # fmt: skip
    for row in curve:
        table.add_row(
            str(row["replicas"]), text(row["mean_qoe"]), f"{100 * (row['share_good'] or 0):.2f} %",
            text(row["smooth_goodput_tokens_per_s"]), text(row["ttft_s"]["p95"]), text(row["cost_usd_per_hour"]),
            text(row["cost_usd_per_1000_good"]),
        )  # fmt: skip
    console.print(table)
    if curve[0]["replicas"] > 1:
        fewer = curve[0]["replicas"] - 1
        typer.echo(f"With {fewer} or fewer, requests are still open a day after the last arrival.")
    enough = next((row["replicas"] for row in curve if row["meets_objective"]), None)
    answer = (
        f"{enough} replica{'s' if enough > 1 else ''}: the fewest with which {100 * good_fraction:g} % of the requests"
        f" are good"
        if enough
        else _why_not(case, curve[-1], scheduler)
    )
    typer.echo(answer)
    if other is not None:
        typer.echo(other if isinstance(other, str) else other.text())
    if case.price is None:
        typer.echo("The profile has no price: --price-per-hour gives one.")
    if json_out:
        given = settings(case, scheduler=scheduler.value, max=most, rate_scale=rate_scale, duration=duration, seed=seed)
        document = {"settings": given, "replicas": enough, "answer": answer, "curve": curve}
        if isinstance(other, Answer):
            document["aiconfigurator"] = other.document()
        write_json(json_out, document)
    if enough is None:
        raise typer.Exit(1)


def _other_answer(case: Case, given: tuple[str, str] | None) -> Answer | str | None:
    """AIConfigurator's answer, or why it has none; None where it is not asked.

    Raises InputError where the given model or GPU cannot be estimated.
    """
    try:
        replica = replica_to_ask(case, given)
        return None if replica is None else ask(case, replica)
    except InputError as error:
        if given is not None:
            raise
        return str(error)


def _curve(case: Case, scheduler: Scheduler, *, most: int, seed: int, console: Console) -> list[dict[str, Any]]:
    """The scores of 1, 2, … replicas; too few to serve all within a day of the last arrival have none.

    Raises InputError where all are too few.
    """
    from andante.sim.fleet.scaler import Static

    rows: list[dict[str, Any]] = []
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting")
        for replicas in range(1, most + 1):
            progress.update(task, description=f"{case.requests.arrival.size} requests on {replicas} replicas")
            try:
                outcome = case.run(Static(replicas), start=replicas, scheduler=scheduler, seed=seed)
            except NotServedError:
                continue
            rows.append({"replicas": replicas, **scores(case, outcome)})
            if sum(bool(row["meets_objective"]) for row in rows) > _MORE:
                break
    if not rows:
        raise InputError(
            f"--max: with {most} replica{'s' if most > 1 else ''} requests are still open a day after the last arrival;"
            " give more, or lower --rate-scale"
        )
    return rows


def _why_not(case: Case, last: dict[str, Any], scheduler: Scheduler) -> str:
    """Whether more replicas could help: not where a request that is alone is late too."""
    from andante.sim.fleet.scaler import Static

    count = case.requests.arrival.size
    chosen = np.unique(np.linspace(0, count - 1, min(count, _ALONE)).astype(np.int64))
    alone = with_arrivals(case.requests, chosen, _APART * np.arange(chosen.size))
    try:
        share = case.run(Static(1), start=1, scheduler=scheduler, requests=alone).share_good
    except NotServedError:
        share = 0.0
    replicas, good = last["replicas"], last["share_good"] or 0.0
    answer = (
        f"No number of replicas up to {replicas} is enough: with {replicas}, {100 * good:.2f} % of the requests are"
        f" good, {100 * case.good_fraction:g} % are wanted. "
    )
    if share < case.good_fraction:
        return answer + (
            f"Of {chosen.size} requests that have a replica for themselves, {100 * share:.2f} % are good: more replicas"
            " do not help. Take a faster GPU, shorter prompts, or a class that expects the first token later."
        )
    return answer + "A request that is alone is served in time: raise --max."
